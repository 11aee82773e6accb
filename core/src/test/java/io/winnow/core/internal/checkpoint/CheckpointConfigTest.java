package io.winnow.core.internal.checkpoint;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.file.Json;
import io.winnow.core.internal.safetensors.TestFiles;
import java.nio.file.Path;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class CheckpointConfigTest {
  @TempDir Path folder;

  private CheckpointConfig config(String json) {
    return CheckpointConfig.read(TestFiles.write(folder.resolve("config.json"), json));
  }

  private static void assertInvalid(ThrowingCallable call, String... expected) {
    assertThatThrownBy(call)
        .isInstanceOf(InvalidInputException.class)
        .hasMessageContaining("config.json")
        .hasMessageContainingAll(expected);
  }

  @Test
  void readsTheConfigurationThatTransformersWrote() {
    CheckpointConfig config = CheckpointConfig.read(TestFiles.TINY_MIXTRAL.resolve("config.json"));

    assertThat(config.modelType()).isEqualTo("mixtral");
    assertThat(config.requirePositiveInt("num_local_experts", "num_experts")).isEqualTo(8);
    assertThat(config.optInt("sliding_window")).isEmpty();
    assertThat(config.doubleOr(0, "rms_norm_eps")).isEqualTo(1e-5);
    assertThat(config.doubleOr(0, "rope_parameters.rope_theta", "rope_theta")).isEqualTo(10_000);
    assertThat(config.booleanOr(true, "tie_word_embeddings")).isFalse();
    assertThat(config.string("torch_dtype", "dtype")).hasValue("bfloat16");
  }

  @Test
  void takesTheFirstNameThatIsPresentAndNotNull() {
    CheckpointConfig config = config("{\"a\": null, \"b\": {\"c\": null}, \"d\": 4, \"e\": 5}");

    assertThat(config.requireInt("a", "b.c", "b.x.y", "x.y", "d", "e")).isEqualTo(4);
    assertThat(config.intOr(7, "a", "x")).isEqualTo(7);
    assertThat(config.intOr(7, "e")).isEqualTo(5);
    assertThat(config.doubleOr(1.5, "a")).isEqualTo(1.5);
    assertThat(config.doubleOr(1.5, "d")).isEqualTo(4);
    assertThat(config.booleanOr(true, "a")).isTrue();
    assertThat(config.string("a")).isEmpty();
  }

  @Test
  void namesTheFieldThatIsAbsent() {
    CheckpointConfig config = config("{}");

    assertInvalid(() -> config.requireInt("a", "b.c"), "lacks", "'a' or 'b.c'", "download");
    assertInvalid(() -> config.requirePositiveInt("a"), "lacks", "'a'");
    assertInvalid(config::modelType, "lacks", "'model_type'");
  }

  @Test
  void namesFieldAndValueOfAWrongKind() {
    CheckpointConfig config =
        config(
            "{\"text\": \"8\", \"fraction\": 8.5, \"large\": 2147483648, \"zero\": 0,"
                + " \"huge\": 1e999, \"list\": [1, 2], \"flag\": true,"
                + " \"long\": \""
                + "x".repeat(100)
                + "\"}");

    assertInvalid(() -> config.requireInt("text"), "'text'", "\"8\"", "whole number", "correct it");
    assertInvalid(() -> config.requireInt("fraction"), "'fraction'", "8.5", "whole number");
    assertInvalid(() -> config.optInt("large"), "'large'", "2147483648", "32 bits");
    assertInvalid(() -> config.intOr(1, "flag"), "'flag'", "true");
    assertInvalid(() -> config.intOr(1, "list"), "'list'", "[1,2]");
    assertInvalid(() -> config.requirePositiveInt("zero"), "'zero'", "0", "at least 1");
    assertInvalid(() -> config.doubleOr(1, "huge"), "'huge'", "1e999", "finite");
    assertInvalid(() -> config.doubleOr(1, "text"), "'text'", "\"8\"", "number");
    assertInvalid(() -> config.booleanOr(true, "zero"), "'zero'", "0", "true or false");
    assertInvalid(() -> config.string("flag"), "'flag'", "true", "a text");
    assertInvalid(() -> config.intOr(1, "flag.inner"), "'flag'", "true", "object", "'inner'");
    assertInvalid(() -> config.intOr(1, "long"), "x…");
  }

  @Test
  void givesACopyThatTheCallerMayChange() {
    CheckpointConfig config = config("{\"a\": {\"b\": 1}}");

    config.json().getAsJsonObject("a").addProperty("b", 2);

    assertThat(config.requireInt("a.b")).isEqualTo(1);
  }

  @Test
  void keepsTextAndNumbersAsTheyAreWhenWrittenAgain() {
    String text = TestFiles.text(TestFiles.TINY_MIXTRAL.resolve("config.json"));
    assertThat(Json.pretty(config(text).json())).isEqualTo(text);

    String special = "{\n  \"a\": 1E+2,\n  \"b\": \"<é>\",\n  \"c\": 12345678901234567890\n}\n";
    assertThat(Json.pretty(config(special).json())).isEqualTo(special);
  }

  @Test
  void rejectsWhatIsNoJsonObject() {
    assertInvalid(() -> config("{\"a\": 1,}"), "not valid JSON", "download the file again");
    assertInvalid(() -> config("{\"a\": NaN}"), "not valid JSON");
    assertInvalid(() -> config("{\"a\": 1} {}"), "not valid JSON");
    assertInvalid(() -> config(""), "not valid JSON");
    assertInvalid(() -> config("{\"a\": {\"b\": 1, \"b\": 2}}"), "not valid JSON", "'b'", "twice");
    assertInvalid(() -> config("{\"a\": " + "[".repeat(1_000_000)), "not valid JSON", "esting");
    assertInvalid(() -> config("[1]"), "no JSON object", "[1]", "download the file again");
  }
}
