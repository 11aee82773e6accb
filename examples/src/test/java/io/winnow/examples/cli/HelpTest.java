package io.winnow.examples.cli;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.internal.environment.WinnowVersion;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** {@code --help} and {@code --version}. */
class HelpTest {
  private static final String COMMANDS =
      ",demo,inspect,calibrate,prune,apply,evolve,finetune,worker,evaluate,compare,forward,generate,report,bench,bench search,"
          + "bench many-experts,bench prune-stream,bench prefill,bench load,bench operations";

  private static String[] commands() {
    return COMMANDS.split(",");
  }

  @Test
  void everyCommandHasHelpWithAnExampleThatFitsATerminal() {
    for (String command : commands()) {
      Cli.Result help = Cli.succeed(command + " --help");
      String name = ("winnow " + command).strip();
      assertThat(help.out()).startsWith("Usage: " + name).contains("Example", "  " + name);
      assertThat(help.out().lines()).allSatisfy(line -> assertThat(line).hasSizeLessThan(81));
      assertThat(help.err()).isEmpty();
    }
  }

  @Test
  void everyCommandTellsTheVersion() {
    for (String command : commands()) {
      Cli.Result version = Cli.succeed(command + " --version");
      assertThat(version.out().strip()).isEqualTo("winnow " + WinnowVersion.get());
      assertThat(version.err()).isEmpty();
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "demo",
        "prune",
        "narrow",
        "shrink",
        "apply",
        "sparsify",
        "evolve",
        "finetune",
        "worker",
        "evaluate",
        "compare",
        "forward",
        "generate",
        "report",
        "bench"
      })
  void theHelpNamesEveryCommandAndTheExitCodes(String command) {
    assertThat(Cli.succeed("--help").out()).contains("\n  " + command, "Exit code");
  }
}
