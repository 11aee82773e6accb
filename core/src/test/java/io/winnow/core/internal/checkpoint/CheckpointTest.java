package io.winnow.core.internal.checkpoint;

import static org.assertj.core.api.Assertions.as;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.google.common.hash.Hashing;
import com.google.common.primitives.Bytes;
import com.google.common.primitives.Longs;
import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.TensorType;
import io.winnow.core.internal.safetensors.TestFiles;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import org.assertj.core.api.InstanceOfAssertFactories;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
  @TempDir Path parent;
  private Path folder;

  @BeforeEach
  void createFolder() throws IOException {
    folder = Files.createDirectory(parent.resolve("model"));
    TestFiles.write(folder.resolve("config.json"), "{\"model_type\": \"mixtral\"}");
  }

  private void writeShard(String name, String... tensors) {
    List<OutputTensor> outputs = new ArrayList<>();
    for (String tensor : tensors) {
      outputs.add(OutputTensor.ofLongs(tensor, List.of(1L), new long[] {tensor.hashCode()}));
    }
    SafetensorsFile.write(folder.resolve(name), outputs, Map.of());
  }

  /** Writes an index; other fields may follow the map. */
  private void writeIndex(String weightMap) {
    TestFiles.write(
        folder.resolve("model.safetensors.index.json"), "{\"weight_map\": " + weightMap + "}");
  }

  private void assertInvalid(String... expected) {
    List<String> before = TestFiles.below(parent);
    assertThatThrownBy(() -> Checkpoint.open(folder))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining(folder.toString())
        .hasMessageContainingAll(expected);
    assertThat(TestFiles.below(parent)).isEqualTo(before);
  }

  @Test
  void opensAFolderThatTransformersWrote() {
    Checkpoint checkpoint = Checkpoint.open(TestFiles.TINY_MIXTRAL);

    assertThat(checkpoint.folder()).isEqualTo(TestFiles.TINY_MIXTRAL);
    assertThat(checkpoint.config().modelType()).isEqualTo("mixtral");
    assertThat(checkpoint.files())
        .containsExactly(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));
    assertThat(checkpoint.bytes()).isBetween(7_000_000L, 7_234_504L);
    assertThat(checkpoint.has("lm_head.weight")).isTrue();
    assertThat(checkpoint.has("absent")).isFalse();
    assertThat(checkpoint.tensor("lm_head.weight", 1024, 128).type()).isEqualTo(TensorType.BF16);
    assertThat(checkpoint.hasTokenizer()).isTrue();
    assertThat(checkpoint.tokenizer()).isRegularFile();
    assertThat(checkpoint.toString()).contains("tiny-mixtral", "model.safetensors");
  }

  @Test
  void opensShardsInTheOrderOfTheirNames() {
    writeShard("model-00002-of-00002.safetensors", "c", "d");
    writeShard("model-00001-of-00002.safetensors", "b", "a");
    writeIndex(
        "{\"a\": \"model-00001-of-00002.safetensors\", \"d\": \"model-00002-of-00002.safetensors\","
            + " \"c\": \"model-00002-of-00002.safetensors\","
            + " \"b\": \"model-00001-of-00002.safetensors\"}");

    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThat(checkpoint.tensors().keySet()).containsExactly("b", "a", "c", "d");
    assertThat(checkpoint.files())
        .extracting(file -> file.getFileName().toString())
        .containsExactly("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors");
    assertThat(checkpoint.bytes()).isEqualTo(32);
  }

  @Test
  void readsAllOfAFileAndWhatTwoHoldFromTheOneThatTheIndexNames() {
    writeShard("1.safetensors", "a", "b", "unlisted");
    writeShard("2.safetensors", "b", "c");
    writeIndex("{\"a\": \"1.safetensors\", \"b\": \"2.safetensors\", \"c\": \"2.safetensors\"}");

    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThat(checkpoint.tensors()).containsOnlyKeys("a", "b", "c", "unlisted");
    assertThat(checkpoint.tensor("b").file()).hasFileName("2.safetensors");
    assertThat(checkpoint.bytes()).isEqualTo(32);
    assertWarning("model.safetensors.index.json does not name", ": unlisted.");
  }

  @Test
  void prefersTheSingleFileToAnIndex() {
    writeShard("model.safetensors", "a");
    writeIndex("{\"a\": \"gone.safetensors\"}");

    assertThat(Checkpoint.open(folder).tensors()).containsOnlyKeys("a");
    assertWarning("both model.safetensors and model.safetensors.index.json", "Remove");
  }

  @Test
  void followsLinksAsInTheHubsCache() throws IOException {
    writeShard("blob", "a");
    Files.move(folder.resolve("blob"), parent.resolve("blob"));
    Files.createSymbolicLink(folder.resolve("model.safetensors"), Path.of("..", "blob"));

    assertThat(Checkpoint.open(folder).tensors()).containsOnlyKeys("a");
  }

  @ParameterizedTest
  @ValueSource(strings = {"config.json", "model.safetensors", "model.safetensors.index.json"})
  void rejectsALinkToNowhere(String name) throws IOException {
    Files.deleteIfExists(folder.resolve(name));
    Files.createSymbolicLink(folder.resolve(name), Path.of("..", "blob"));

    assertInvalid(name + " is a link to a file that does not exist", "download the file again");
  }

  @Test
  void rejectsAFolderThatIsNone() {
    Path absent = parent.resolve("absent");
    assertThatThrownBy(() -> Checkpoint.open(absent))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(absent.toString(), "does not exist", "config.json");
    Path file = folder.resolve("config.json");
    assertThatThrownBy(() -> Checkpoint.open(file))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(file.toString(), "not a folder");
  }

  @Test
  void rejectsAFolderWithoutConfiguration() throws IOException {
    Files.delete(folder.resolve("config.json"));

    assertInvalid("no config.json", "download");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
        "Mixtral.Q4_K_M.GGUF",
        "consolidated.00.pth",
        "model.pt"
      })
  void saysHowToConvertWeightsOfOtherFormats(String name) {
    TestFiles.write(folder.resolve(name), "weights");

    assertInvalid("not read: " + name, "convert it with Transformers", "save_pretrained");
  }

  @Test
  void namesShardsWithoutAnIndex() {
    writeShard("model-00001-of-00002.safetensors", "a");
    TestFiles.write(folder.resolve("pytorch_model.bin"), "weights");

    assertInvalid("only model-00001-of-00002.safetensors", "Download the index");
  }

  @Test
  void saysThatThereAreNoWeights() {
    assertInvalid("neither model.safetensors nor", "Download the weights");
  }

  @Test
  void namesAllShardsThatAreMissing() {
    writeShard("1.safetensors", "a");
    writeIndex("{\"a\": \"1.safetensors\", \"b\": \"2.safetensors\", \"c\": \"3.safetensors\"}");

    assertInvalid("names 3 files", "2 are missing: 2.safetensors, 3.safetensors", "Download");
  }

  @Test
  void namesATensorThatItsFileLacksAndDoesWithoutIt() {
    writeShard("1.safetensors", "a");
    writeIndex("{\"a\": \"1.safetensors\", \"b\": \"1.safetensors\"}");

    assertThat(Checkpoint.open(folder).tensors()).containsOnlyKeys("a");
    assertWarning("names tensors that its files do not hold: b.", "download it again");
  }

  @Test
  void takesATensorThatTheIndexOmitsFromTheLastFile() {
    writeShard("1.safetensors", "a", "b");
    writeShard("2.safetensors", "b", "c");
    writeIndex("{\"a\": \"1.safetensors\", \"c\": \"2.safetensors\"}");

    assertThat(Checkpoint.open(folder).tensor("b").file()).hasFileName("2.safetensors");
  }

  @Test
  void saysNothingOfAnIndexThatFits() {
    writeShard("1.safetensors", "a");
    writeIndex("{\"a\": \"1.safetensors\"}, \"metadata\": null");

    assertThat(WeightFiles.find(folder).warnings()).isEmpty();
  }

  private void assertWarning(String... parts) {
    assertThat(WeightFiles.find(folder).warnings())
        .singleElement(as(InstanceOfAssertFactories.STRING))
        .startsWith(folder.toString())
        .contains(parts);
  }

  @Test
  void refusesAnAdapterAlsoWithoutAModel() throws IOException {
    TestFiles.checkpoint(folder);
    TestFiles.write(folder.resolve("adapter_config.json"), "{}");
    assertInvalid("adapter_config.json", "merge_and_unload", "adapter_*");
    Files.delete(folder.resolve("config.json"));
    Files.delete(folder.resolve("model.safetensors"));
    assertInvalid("adapter_config.json", "merge_and_unload");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {"adapter_config.json", "lora/adapter_config.json", "adapter_model.safetensors"})
  void carriesNoAdapterAlong(String name) {
    assertThat(WeightFiles.holdsWeights(name)).isTrue();
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "tokenizer.model",
        "tiktoken.model",
        "qwen.tiktoken",
        "spiece.model",
        "vocab.json"
      })
  void namesATokenizerInAnotherFormat(String name) throws IOException {
    TestFiles.checkpoint(folder);
    TestFiles.write(folder.resolve(name), "x");

    assertThatThrownBy(Checkpoint.open(folder)::tokenizer)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(
            folder.toString(), name, "AutoTokenizer.from_pretrained", "save_pretrained");
  }

  /** What generation_config.json says, then config.json; "-" stands for no such file. */
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      quoteCharacter = '`',
      value = {
        "- | {\"eos_token_id\": 2} | 2",
        "- | {\"eos_token_id\": [2, 5]} | 2,5",
        "- | {\"eos_token_id\": [2, null, -1]} | 2",
        "- | {\"eos_token_id\": -1} | ``",
        "- | {\"eos_token_id\": null} | ``",
        "- | {} | ``",
        "- | {\"text_config\": {\"eos_token_id\": [7, 8]}} | 7,8",
        "- | {\"eos_token_id\": null, \"text_config\": {\"eos_token_id\": 7}} | 7",
        "- | {\"eos_token_id\": 2, \"text_config\": {\"eos_token_id\": 7}} | 2",
        "- | {\"text_config\": null} | ``",
        "{\"eos_token_id\": 3} | {\"eos_token_id\": 2} | 3",
        "{\"eos_token_id\": null} | {\"eos_token_id\": 2} | 2",
        "{\"eos_token_id\": []} | {\"text_config\": {\"eos_token_id\": 7}} | 7",
        "{\"eos_token_id\": -1} | {\"eos_token_id\": 2} | ``",
        "{} | {\"text_config\": {\"eos_token_id\": 7}} | 7"
      })
  void readsTheTokensThatEndATextInAllForms(String generation, String config, String expected) {
    TestFiles.checkpoint(folder);
    TestFiles.write(folder.resolve("config.json"), config);
    if (!generation.equals("-")) {
      TestFiles.write(folder.resolve("generation_config.json"), generation);
    }

    assertThat(EndTokens.of(Checkpoint.open(folder)).stream().map(String::valueOf).toList())
        .isEqualTo(expected.isEmpty() ? List.of() : List.of(expected.split(",")));
  }

  @ParameterizedTest
  @ValueSource(strings = {"2.5", "\"</s>\"", "[[2]]", "{}", "true", "1e30"})
  void refusesEndsThatAreNoTokens(String value) {
    TestFiles.checkpoint(folder);
    TestFiles.write(
        folder.resolve("config.json"), "{\"text_config\": {\"eos_token_id\": " + value + "}}");
    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThatThrownBy(() -> EndTokens.of(checkpoint))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("text_config.eos_token_id is");
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "../secret.safetensors",
        "/etc/secret.safetensors",
        "sub/a.safetensors",
        "..",
        ".",
        "",
        "..\\\\\\\\secret",
        "a\\u0000b"
      })
  void rejectsAnIndexThatLeadsOutOfTheFolder(String file) {
    writeShard("1.safetensors", "a");
    writeIndex("{\"a\": \"" + file + "\"}");

    assertInvalid("'a'", "only names of files in the same folder", "source that you trust");
  }

  @Test
  void rejectsADamagedIndex() {
    writeIndex("[]");
    assertInvalid("'weight_map'", "Download it again");
    writeIndex("{}");
    assertInvalid("names no tensor");
    writeIndex("{\"a\": 1}");
    assertInvalid("'a'", "gives 1", "expected a text");
    writeIndex("{\"a\": \"1\", \"a\": \"2\"}");
    assertInvalid("'a'", "twice");
  }

  @Test
  void rejectsAModelWithoutTensors() {
    writeShard("model.safetensors");

    assertInvalid("model.safetensors", "no tensor");
  }

  @Test
  void rejectsATruncatedFile() throws IOException {
    byte[] whole = TestFiles.bytes(TestFiles.TINY_MIXTRAL.resolve("model.safetensors"));
    Files.write(folder.resolve("model.safetensors"), Arrays.copyOf(whole, whole.length - 1));

    assertInvalid("truncated", "7234504", "7234503", "Download the file again");
  }

  @Test
  void namesTensorAndFolderWhenOneIsMissing() {
    TestFiles.checkpoint(folder);
    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThatThrownBy(() -> checkpoint.tensor("b"))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'b'", folder.toString(), "model_type");
  }

  @Test
  void namesBothShapesWhenTheyDiffer() {
    TestFiles.checkpoint(folder);
    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThat(checkpoint.tensor("a", 4).length()).isEqualTo(4);
    assertThatThrownBy(() -> checkpoint.tensor("a", 2, 2))
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll("'a'", "has the shape [4], expected [2, 2]");
  }

  @Test
  void saysWhatWorksWithoutATokenizer() {
    TestFiles.checkpoint(folder);
    Checkpoint checkpoint = Checkpoint.open(folder);

    assertThat(checkpoint.hasTokenizer()).isFalse();
    assertThatThrownBy(checkpoint::tokenizer)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContainingAll(folder.toString(), "tokenizer.json", "input_ids", ".safetensors");
  }

  @Test
  void digestsWhatItsDocumentationSays() {
    TestFiles.write(
        folder.resolve("config.json"), "{\"z\": 1.50, \"a\": {\"y\": null, \"b\": [\"<\"]}}");
    TestFiles.checkpoint(parent.resolve("other"));
    TestFiles.safetensors(
        folder.resolve("model.safetensors"),
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2,2],\"data_offsets\":[0,4]}}",
        4);

    byte[] expected = new byte[0];
    for (byte[] item :
        List.of(
            "{\"a\":{\"b\":[\"<\"],\"y\":null},\"z\":1.50}".getBytes(StandardCharsets.UTF_8),
            new byte[] {'a'},
            new byte[] {'U', '8'},
            new byte[] {'[', '2', ',', ' ', '2', ']'},
            new byte[] {0, 1, 2, 3},
            new byte[] {0, 1, 2, 3})) {
      expected = Bytes.concat(expected, Longs.toByteArray(item.length), item);
    }
    assertThat(Checkpoint.open(folder).digest())
        .isEqualTo("sha256:" + Hashing.sha256().hashBytes(expected))
        .matches("sha256:[0-9a-f]{64}");
  }

  @Test
  void digestsIndependentlyOfProvenanceAndLayoutOfTheConfiguration() {
    TestFiles.checkpoint(folder);
    TestFiles.write(folder.resolve("config.json"), "{\"a\": 1, \"b\": 2}");
    String digest = Checkpoint.open(folder).digest();

    TestFiles.write(folder.resolve("config.json"), "{\"b\":2,\"winnow\":{\"seed\":1},\"a\":1}");
    assertThat(Checkpoint.open(folder).digest()).isEqualTo(digest);
    TestFiles.write(folder.resolve("config.json"), "{\"b\":2,\"a\":2}");
    assertThat(Checkpoint.open(folder).digest()).isNotEqualTo(digest);
  }

  @Test
  void digestsBothEndsOfALargeTensor() throws IOException {
    String header = "{\"a\":{\"dtype\":\"U8\",\"shape\":[9000],\"data_offsets\":[0,9000]}}";
    Path file = TestFiles.safetensors(folder.resolve("model.safetensors"), header, 9000);
    String digest = Checkpoint.open(folder).digest();
    int start = (int) Files.size(file) - 9000;
    byte[] content = TestFiles.bytes(file);

    for (int offset : new int[] {0, 4095, 4904, 8999}) {
      byte[] changed = content.clone();
      changed[start + offset]++;
      TestFiles.write(file, changed);
      assertThat(Checkpoint.open(folder).digest()).as("at %d", offset).isNotEqualTo(digest);
    }
    content[start + 4500]++;
    TestFiles.write(file, content);
    assertThat(Checkpoint.open(folder).digest()).isEqualTo(digest);
  }
}
