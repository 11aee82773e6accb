package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import org.junit.jupiter.api.Test;

/** {@code winnow demo}. */
class DemoCommandTest {
  @Test
  void demoShowsWhatPruningDoesToTheBundledModel() {
    Path home = Path.of("").toAbsolutePath();
    Cli.Result result = Cli.succeed("demo --home {}", home);
    assertThat(result.out())
        .containsPattern("experts per layer +8 +6 +-25\\.0 %")
        .containsPattern("checkpoint, MB +\\d+\\.\\d\\d +\\d+\\.\\d\\d +-\\d")
        .containsPattern("perplexity on code +\\d+\\.\\d\\d +\\d+\\.\\d\\d +\\+\\d")
        .containsPattern("perplexity on prose +\\d+\\.\\d\\d +\\d+\\.\\d\\d +\\+\\d")
        .containsPattern("evaluation, seconds +\\d")
        .containsPattern("tokens per second +\\d")
        .contains("and with about half of the second experts skipped:")
        .containsPattern("skipped in layer 3, % +[45]\\d\\.\\d")
        .contains("--- 8 experts:", "--- 6 experts:", "def test_");
    assertThat(home.resolve("target/demo/tiny-mixtral-r6/model.safetensors")).exists();
  }
}
