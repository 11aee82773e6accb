package io.winnow.core;

import com.google.gson.JsonObject;
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
import java.util.Map;
import java.util.Random;
import java.util.stream.LongStream;

/**
 * Writes small Mixtral checkpoints of seeded random weights, in any type and with any
 * configuration.
 */
public final class RandomCheckpoint {
  private final JsonObject config = new JsonObject();
  private TensorType type = TensorType.F32;
  private long seed = 1;

  /** Starts with 2 layers, hidden 16, intermediate 24, 4 experts, top-2, 2 heads, vocabulary 50. */
  public RandomCheckpoint() {
    set("model_type", "mixtral");
    set("vocab_size", 50);
    set("hidden_size", 16);
    set("intermediate_size", 24);
    set("num_hidden_layers", 2);
    set("num_attention_heads", 2);
    set("num_key_value_heads", 1);
    set("num_local_experts", 4);
    set("num_experts_per_tok", 2);
    set("max_position_embeddings", 64);
  }

  /** Sets a field of config.json; null removes it. */
  public RandomCheckpoint set(String field, Object value) {
    if (value == null) {
      config.remove(field);
    } else if (value instanceof Number number) {
      config.addProperty(field, number);
    } else if (value instanceof Boolean flag) {
      config.addProperty(field, flag);
    } else if (value instanceof JsonObject object) {
      config.add(field, object);
    } else {
      config.addProperty(field, value.toString());
    }
    return this;
  }

  /** Sets the type of the weights: F32, F16 or BF16. */
  public RandomCheckpoint type(TensorType newType) {
    type = newType;
    return this;
  }

  /** Sets the seed of the weights. */
  public RandomCheckpoint seed(long newSeed) {
    seed = newSeed;
    return this;
  }

  private long number(String field) {
    return config.get(field).getAsLong();
  }

  /** Returns the checkpoint's tensors; others may be made of them before they are written. */
  public List<OutputTensor> tensors() {
    Random random = new Random(seed);
    List<OutputTensor> tensors = new ArrayList<>();
    long hidden = number("hidden_size");
    long inner = number("intermediate_size");
    long headSize =
        config.has("head_dim") ? number("head_dim") : hidden / number("num_attention_heads");
    long queries = headSize * number("num_attention_heads");
    long keys = headSize * number("num_key_value_heads");
    tensors.add(tensor(random, "model.embed_tokens.weight", 1, number("vocab_size"), hidden));
    for (int layer = 0; layer < number("num_hidden_layers"); layer++) {
      String prefix = "model.layers." + layer + ".";
      tensors.add(tensor(random, prefix + "input_layernorm.weight", 1, hidden));
      tensors.add(tensor(random, prefix + "self_attn.q_proj.weight", 0.5, queries, hidden));
      tensors.add(tensor(random, prefix + "self_attn.k_proj.weight", 0.5, keys, hidden));
      tensors.add(tensor(random, prefix + "self_attn.v_proj.weight", 0.5, keys, hidden));
      tensors.add(tensor(random, prefix + "self_attn.o_proj.weight", 0.5, hidden, queries));
      tensors.add(tensor(random, prefix + "post_attention_layernorm.weight", 1, hidden));
      String moe = prefix + "block_sparse_moe.";
      tensors.add(tensor(random, moe + "gate.weight", 0.5, number("num_local_experts"), hidden));
      for (int expert = 0; expert < number("num_local_experts"); expert++) {
        String name = moe + "experts." + expert + ".";
        tensors.add(tensor(random, name + "w1.weight", 0.5, inner, hidden));
        tensors.add(tensor(random, name + "w2.weight", 0.5, hidden, inner));
        tensors.add(tensor(random, name + "w3.weight", 0.5, inner, hidden));
      }
    }
    tensors.add(tensor(random, "model.norm.weight", 1, hidden));
    boolean tied =
        config.has("tie_word_embeddings") && config.get("tie_word_embeddings").getAsBoolean();
    if (!tied) {
      tensors.add(tensor(random, "lm_head.weight", 0.5, number("vocab_size"), hidden));
    }
    return tensors;
  }

  private OutputTensor tensor(Random random, String name, double scale, long... shape) {
    int elements = Math.toIntExact(LongStream.of(shape).reduce(1, Math::multiplyExact));
    ByteBuffer bytes = ByteBuffer.allocate(elements * type.bytes()).order(ByteOrder.LITTLE_ENDIAN);
    for (int i = 0; i < elements; i++) {
      // Few bits, so that every type holds the same values.
      float value = Math.round(random.nextGaussian() * scale * 64) / 64f;
      switch (type) {
        case F32 -> bytes.putFloat(value);
        case BF16 -> bytes.putShort((short) (Float.floatToIntBits(value) >>> 16));
        case F16 -> bytes.putShort(half(value));
        default -> throw new IllegalArgumentException(type.toString());
      }
    }
    return new OutputTensor(
        name,
        type,
        LongStream.of(shape).boxed().toList(),
        List.of(new Segment.BufferSegment(bytes.flip())));
  }

  private static short half(float value) {
    int bits = Float.floatToIntBits(value);
    int sign = bits >>> 16 & 0x8000;
    if (value == 0) {
      return (short) sign;
    }
    int exponent = (bits >>> 23 & 0xff) - 127 + 15;
    return (short) (sign | exponent << 10 | bits >>> 13 & 0x3ff);
  }

  /** Writes the folder and returns it. */
  public Path write(Path folder) throws IOException {
    return write(folder, tensors());
  }

  /** Writes the folder with other tensors and returns it. */
  public Path write(Path folder, List<OutputTensor> tensors) throws IOException {
    Files.createDirectories(folder);
    Files.writeString(folder.resolve("config.json"), config.toString());
    SafetensorsFile.write(folder.resolve("model.safetensors"), tensors, Map.of("format", "pt"));
    return folder;
  }
}
