package io.winnow.examples.cli.run;

import static org.assertj.core.api.Assertions.assertThat;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.types.DataType;
import io.winnow.core.Fixtures;
import io.winnow.core.calibration.TextTokenizer;
import io.winnow.core.generate.Generator;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.cli.Cli;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code winnow generate}. */
class GenerateCommandTest {
  @TempDir private Path folder;

  @Test
  void generateDrawsByItsOptionsAndStops() {
    String drawing =
        "generate --model MODEL --prompt {} --stop {} --max-tokens 24 --temperature 0.9 --top-k 50"
            + " --top-p 0.95 --min-p 0.01 --repetition-penalty 1.1 --seed ";
    String first = Cli.succeed(drawing + 3, "def ", "\n").out();
    assertThat(first).startsWith("def ");
    assertThat(first.strip()).doesNotContain("\n");
    assertThat(Cli.succeed(drawing + 3, "def ", "\n").out()).isEqualTo(first);
    assertThat(Cli.succeed(drawing + 4, "def ", "\n").out()).isNotEqualTo(first);
    Cli.assertRefused(Cli.run("generate --model MODEL --prompt a --temperature -1"), "emperature");
  }

  @Test
  void generatePrintsThePromptAndTheGreedyContinuationOfTheLibrary() {
    String prompt = "def test_";
    String expected;
    try (TextTokenizer tokenizer = TextTokenizer.open(Fixtures.TINY_MIXTRAL);
        Model model =
            MoeModels.loader(Fixtures.TINY_MIXTRAL)
                .optDevice(Device.cpu())
                .optDataType(DataType.FLOAT32)
                .load()) {
      long[] ids = tokenizer.encodeWithSpecialTokens(prompt);
      expected = prompt + tokenizer.decode(Generator.of(model).generate(ids, 20));
    }
    for (int run = 0; run < 2; run++) {
      Cli.Result result = Cli.succeed("generate --model MODEL --prompt {} --max-tokens 20", prompt);
      assertThat(result.out()).isEqualTo(expected + System.lineSeparator());
    }
  }

  @Test
  void aPromptMayBeginWithAnAtSign() {
    assertThat(Cli.succeed("generate --model MODEL --prompt {} --max-tokens 1", "@" + folder).out())
        .startsWith("@" + folder);
  }
}
