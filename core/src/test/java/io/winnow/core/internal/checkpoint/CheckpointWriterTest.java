package io.winnow.core.internal.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import ai.djl.util.Progress;
import com.google.gson.JsonObject;
import com.google.gson.JsonParser;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorInfo;
import io.winnow.core.internal.safetensors.TestFiles;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

class CheckpointWriterTest extends WritesCheckpoints {
  @Test
  void writesEveryFileOfAnUnchangedModelAsItWas() {
    Checkpoint source = Checkpoint.open(TestFiles.TINY_MIXTRAL);

    Checkpoint copy = copyOf(source).write();

    assertThat(copy.folder()).isEqualTo(target);
    assertThat(TestFiles.below(folder))
        .containsExactly(
            "target",
            "target/config.json",
            "target/generation_config.json",
            "target/model.safetensors",
            "target/tokenizer.json",
            "target/tokenizer_config.json");
    for (String name : TestFiles.below(target)) {
      assertThat(target.resolve(name))
          .as(name)
          .hasSameBinaryContentAs(TestFiles.TINY_MIXTRAL.resolve(name));
    }
    assertThat(copy.digest()).isEqualTo(source.digest());
    assertThat(copy.tensors()).isEqualTo(Checkpoint.open(target).tensors());
    assertThat(copy.files()).isEqualTo(Checkpoint.open(target).files());
    assertThatThrownBy(() -> copy.config().requireInt("absent"))
        .hasMessageContaining(target.resolve("config.json").toString());
  }

  @Test
  void writesShardsAndAnIndexWhenOneFileWouldBeTooLarge() {
    Checkpoint source = Checkpoint.open(TestFiles.TINY_MIXTRAL);

    Checkpoint copy = copyOf(source).optMaxShardBytes(2_000_000).write();

    assertThat(copy.files())
        .extracting(file -> file.getFileName().toString())
        .containsExactly(
            "model-00001-of-00004.safetensors",
            "model-00002-of-00004.safetensors",
            "model-00003-of-00004.safetensors",
            "model-00004-of-00004.safetensors");
    assertThat(copy.tensors().keySet()).containsExactlyElementsOf(source.tensors().keySet());
    source
        .tensors()
        .forEach(
            (name, info) -> {
              TensorInfo copied = copy.tensor(name);
              assertThat(copied.shape()).isEqualTo(info.shape());
              assertThat(TestFiles.bytes(copied)).as(name).isEqualTo(TestFiles.bytes(info));
            });
    assertThat(copy.digest()).isEqualTo(source.digest());
    assertThat(copy.bytes()).isEqualTo(source.bytes());

    String indexText = TestFiles.text(target.resolve("model.safetensors.index.json"));
    JsonObject index = JsonParser.parseString(indexText).getAsJsonObject();
    assertThat(indexText)
        .startsWith(
            "{\n  \"metadata\": {\n    \"total_size\": %d\n  },\n  \"weight_map\": {\n    \"lm_head"
                .formatted(source.bytes()))
        .endsWith("}\n");
    assertThat(index.getAsJsonObject("weight_map").keySet())
        .hasSameSizeAs(source.tensors().keySet())
        .isEqualTo(new TreeSet<>(source.tensors().keySet()));
    assertThat(target.resolve("model.safetensors")).doesNotExist();
    for (Path file : copy.files()) {
      assertThat(SafetensorsFile.open(file).metadata()).containsEntry("format", "pt");
      assertThat(file.toFile().length()).isLessThan(2_010_000);
    }
  }

  @Test
  void givesATensorThatIsLargerThanAShardAFileOfItsOwn() {
    Checkpoint copy = copyOf(smallSource()).optMaxShardBytes(1).write();

    assertThat(copy.files()).containsExactly(target.resolve("model.safetensors"));
    assertThat(target.resolve("model.safetensors.index.json")).doesNotExist();
  }

  @Test
  void writesTheSameBytesForTheSameInput() {
    Checkpoint source = Checkpoint.open(TestFiles.TINY_MIXTRAL);
    copyOf(source).optMaxShardBytes(2_000_000).write();
    Path first = target;
    target = folder.resolve("again");
    copyOf(source).optMaxShardBytes(2_000_000).write();

    assertThat(TestFiles.below(target)).isEqualTo(TestFiles.below(first));
    for (String name : TestFiles.below(target)) {
      assertThat(target.resolve(name)).hasSameBinaryContentAs(first.resolve(name));
    }
  }

  @Test
  void carriesAlongEverythingButStaleWeights() throws IOException {
    Checkpoint source = smallSource();
    for (String name :
        List.of(
            "tokenizer.json",
            "README.md",
            ".gitattributes",
            "sub/deep/config.json",
            "sub/vocab.txt",
            "pytorch_model.bin",
            "pytorch_model.bin.index.json",
            "model.safetensors.index.json",
            "other.safetensors",
            "Model.GGUF",
            "original/consolidated.00.pth",
            "x.pt",
            "tf_model.h5",
            "flax_model.msgpack",
            "onnx/model.onnx",
            ".git/HEAD",
            ".cache/huggingface/x")) {
      TestFiles.write(source.folder().resolve(name), "content of " + name);
    }
    TestFiles.write(folder.resolve("blob"), "linked content");
    Files.createSymbolicLink(source.folder().resolve("linked.json"), folder.resolve("blob"));
    Files.createSymbolicLink(source.folder().resolve("linked-folder"), folder);

    copyOf(source).write();

    assertThat(TestFiles.below(target))
        .containsExactly(
            ".gitattributes",
            "README.md",
            "config.json",
            "linked.json",
            "model.safetensors",
            "sub",
            "sub/deep",
            "sub/deep/config.json",
            "sub/vocab.txt",
            "tokenizer.json");
    assertThat(target.resolve("linked.json"))
        .hasContent("linked content")
        .matches(path -> !Files.isSymbolicLink(path), "is no link");
    assertThat(target.resolve("sub/deep/config.json"))
        .hasContent("content of sub/deep/config.json");
  }

  @Test
  void readsASourceThatIsALink() throws IOException {
    Checkpoint source = smallSource();
    TestFiles.write(source.folder().resolve("tokenizer.json"), "{}");
    Path link = Files.createSymbolicLink(folder.resolve("link"), source.folder());

    copyOf(Checkpoint.open(link)).write();

    assertThat(TestFiles.below(target))
        .containsExactly("config.json", "model.safetensors", "tokenizer.json");
  }

  @Test
  void addsTextFilesAndReplacesThoseOfTheSource() {
    Checkpoint source = smallSource();
    TestFiles.write(source.folder().resolve("report.json"), "old");

    copyOf(source).optFile("report.json", "new").write();

    assertThat(target.resolve("report.json")).hasContent("new");
    for (String name : List.of("config.json", "../x", "model.safetensors", "x.bin")) {
      assertThatThrownBy(() -> copyOf(source).optFile(name, ""))
          .isInstanceOf(InvalidInputException.class)
          .hasMessageContainingAll("'" + name + "'", "choose another");
    }
  }

  @Test
  void writesConfigurationAndRowsAsTold() {
    Checkpoint source = Checkpoint.open(TestFiles.TINY_MIXTRAL);
    JsonObject config = source.config().json();
    config.addProperty("num_local_experts", 4);
    TensorInfo gate = source.tensor("model.layers.0.block_sparse_moe.gate.weight", 8, 128);

    Checkpoint copy =
        copyOf(source)
            .setConfig(config)
            .setTensors(List.of(OutputTensor.rows(gate, "gate", 1, 4, 5, 7)))
            .write();

    assertThat(copy.config().requireInt("num_local_experts")).isEqualTo(4);
    assertThat(TestFiles.text(target.resolve("config.json")))
        .isEqualTo(
            TestFiles.text(TestFiles.TINY_MIXTRAL.resolve("config.json"))
                .replace("\"num_local_experts\": 8", "\"num_local_experts\": 4"));
    byte[] expected = TestFiles.bytes(gate);
    byte[] actual = TestFiles.bytes(copy.tensor("gate", 4, 128));
    int[] rows = {1, 4, 5, 7};
    for (int i = 0; i < rows.length; i++) {
      assertThat(Arrays.copyOfRange(actual, i * 256, (i + 1) * 256))
          .isEqualTo(Arrays.copyOfRange(expected, rows[i] * 256, (rows[i] + 1) * 256));
    }
  }

  @Test
  void acceptsATargetWithRedundantSteps() {
    Checkpoint copy = copyOf(smallSource()).setTarget(folder.resolve("source/../target/.")).write();

    assertThat(copy.folder()).isEqualTo(target);
  }

  @Test
  void tellsTheProgressInBytes() throws IOException {
    List<String> calls = new ArrayList<>();
    long[] sum = new long[2];
    Progress progress =
        new Progress() {
          @Override
          public void reset(String message, long max, String trailing) {
            calls.add("reset");
            sum[1] = max;
          }

          @Override
          public void start(long initial) {
            calls.add("start " + initial);
          }

          @Override
          public void end() {
            calls.add("end");
          }

          @Override
          public void increment(long bytes) {
            sum[0] += bytes;
          }

          @Override
          public void update(long bytes, String message) {
            throw new AssertionError("not used");
          }
        };

    copyOf(Checkpoint.open(TestFiles.TINY_MIXTRAL)).optProgress(progress).write();

    assertThat(calls).containsExactly("reset", "start 0", "end");
    long written = 0;
    for (String name : TestFiles.below(target)) {
      written += Files.size(target.resolve(name));
    }
    assertThat(sum).containsExactly(written, written);
  }
}
