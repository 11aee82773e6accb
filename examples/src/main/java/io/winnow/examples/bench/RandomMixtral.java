package io.winnow.examples.bench;

import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.JsonFiles;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorType;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Random;
import java.util.stream.LongStream;

/**
 * Writes a Mixtral checkpoint of random weights for benchmarks. All tensors are made of pieces of
 * one block of random numbers, so that size costs no time to compute.
 */
final class RandomMixtral {
  private static final int POOL_BYTES = 64 << 20;

  private final int layers;
  private final int hidden;
  private final int intermediate;
  private final int experts;
  private final int vocabulary;
  private final TensorType type;
  private final Random random = new Random(3);
  private final ByteBuffer pool;

  RandomMixtral(
      int layers, int hidden, int intermediate, int experts, int vocabulary, TensorType type) {
    if (hidden % 128 != 0 || layers < 1 || intermediate < 1 || experts < 2 || vocabulary < 2) {
      throw new InvalidInputException(
          "The hidden size must be a multiple of 128, the experts and the vocabulary at least 2");
    }
    this.layers = layers;
    this.hidden = hidden;
    this.intermediate = intermediate;
    this.experts = experts;
    this.vocabulary = vocabulary;
    this.type = type;
    pool = pool();
  }

  private ByteBuffer pool() {
    ByteBuffer buffer = ByteBuffer.allocateDirect(POOL_BYTES).order(ByteOrder.LITTLE_ENDIAN);
    double scale = 1 / Math.sqrt(hidden);
    while (buffer.hasRemaining()) {
      put(buffer, (float) (scale * random.nextGaussian()));
    }
    return buffer.flip();
  }

  private void put(ByteBuffer buffer, float value) {
    if (type == TensorType.BF16) {
      buffer.putShort((short) (Float.floatToIntBits(value) >>> 16));
    } else {
      buffer.putFloat(value);
    }
  }

  /**
   * Writes the folder.
   *
   * @param shardBytes what the tensors of one file have at most, if there is more than one
   */
  void write(Path folder, long shardBytes) throws IOException {
    List<OutputTensor> tensors = new ArrayList<>();
    tensors.add(tensor("model.embed_tokens.weight", vocabulary, hidden));
    int heads = hidden / 64;
    for (int layer = 0; layer < layers; layer++) {
      String prefix = "model.layers." + layer + ".";
      tensors.add(ones(prefix + "input_layernorm.weight"));
      tensors.add(tensor(prefix + "self_attn.q_proj.weight", hidden, hidden));
      tensors.add(tensor(prefix + "self_attn.k_proj.weight", hidden / 2, hidden));
      tensors.add(tensor(prefix + "self_attn.v_proj.weight", hidden / 2, hidden));
      tensors.add(tensor(prefix + "self_attn.o_proj.weight", hidden, hidden));
      tensors.add(ones(prefix + "post_attention_layernorm.weight"));
      String moe = prefix + "block_sparse_moe.";
      tensors.add(tensor(moe + "gate.weight", experts, hidden));
      for (int expert = 0; expert < experts; expert++) {
        String name = moe + "experts." + expert + ".";
        tensors.add(tensor(name + "w1.weight", intermediate, hidden));
        tensors.add(tensor(name + "w2.weight", hidden, intermediate));
        tensors.add(tensor(name + "w3.weight", intermediate, hidden));
      }
    }
    tensors.add(ones("model.norm.weight"));
    tensors.add(tensor("lm_head.weight", vocabulary, hidden));
    Files.createDirectory(folder);
    List<List<OutputTensor>> shards = shards(tensors, shardBytes);
    JsonObject weightMap = new JsonObject();
    for (int i = 0; i < shards.size(); i++) {
      String name =
          shards.size() == 1
              ? "model.safetensors"
              : String.format(Locale.ROOT, "model-%05d-of-%05d.safetensors", i + 1, shards.size());
      SafetensorsFile.write(folder.resolve(name), shards.get(i), Map.of("format", "pt"));
      shards.get(i).forEach(tensor -> weightMap.addProperty(tensor.name(), name));
    }
    if (shards.size() > 1) {
      JsonObject index = new JsonObject();
      index.add("metadata", new JsonObject());
      index.add("weight_map", weightMap);
      JsonFiles.write(folder.resolve("model.safetensors.index.json"), index);
    }
    JsonFiles.write(folder.resolve("config.json"), config(heads));
  }

  private static List<List<OutputTensor>> shards(List<OutputTensor> tensors, long shardBytes) {
    List<List<OutputTensor>> shards = new ArrayList<>();
    long bytes = Long.MAX_VALUE;
    for (OutputTensor tensor : tensors) {
      long length = tensor.segments().stream().mapToLong(Segment::length).sum();
      if (length > shardBytes - bytes || shards.isEmpty()) {
        shards.add(new ArrayList<>());
        bytes = 0;
      }
      shards.get(shards.size() - 1).add(tensor);
      bytes += length;
    }
    return shards;
  }

  private JsonObject config(int heads) {
    JsonObject config = new JsonObject();
    config.addProperty("model_type", "mixtral");
    config.addProperty("vocab_size", vocabulary);
    config.addProperty("hidden_size", hidden);
    config.addProperty("intermediate_size", intermediate);
    config.addProperty("num_hidden_layers", layers);
    config.addProperty("num_attention_heads", heads);
    config.addProperty("num_key_value_heads", heads / 2);
    config.addProperty("num_local_experts", experts);
    config.addProperty("num_experts_per_tok", 2);
    config.addProperty("max_position_embeddings", 4096);
    config.addProperty("rms_norm_eps", 1e-5);
    config.addProperty("rope_theta", 1e6);
    config.addProperty("tie_word_embeddings", false);
    config.addProperty("torch_dtype", type == TensorType.BF16 ? "bfloat16" : "float32");
    return config;
  }

  private OutputTensor tensor(String name, long... shape) {
    long bytes = LongStream.of(shape).reduce(type.bytes(), Math::multiplyExact);
    List<Segment> segments = new ArrayList<>();
    while (bytes > 0) {
      // At another place each time, so that no two tensors are the same.
      int from = random.nextInt(POOL_BYTES / 2 / 64) * 64;
      int count = (int) Math.min(bytes, POOL_BYTES - from);
      segments.add(new Segment.BufferSegment(pool.slice(from, count)));
      bytes -= count;
    }
    return new OutputTensor(name, type, LongStream.of(shape).boxed().toList(), segments);
  }

  private OutputTensor ones(String name) {
    ByteBuffer buffer = ByteBuffer.allocate(hidden * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < hidden; i++) {
      put(buffer, 1);
    }
    return new OutputTensor(
        name, type, List.of((long) hidden), List.of(new Segment.BufferSegment(buffer.flip())));
  }
}
