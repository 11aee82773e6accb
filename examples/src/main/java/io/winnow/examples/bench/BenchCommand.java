package io.winnow.examples.bench;

import java.util.concurrent.Callable;
import picocli.CommandLine;
import picocli.CommandLine.Command;

/** {@code winnow bench}. */
@Command(
    name = "bench",
    mixinStandardHelpOptions = true,
    description = "Measures winnow against the usual way, both in the same run.",
    footer = {"", "Example:", "  winnow bench search --json search.json"})
final class BenchCommand implements Callable<Integer> {
  @CommandLine.Spec private CommandLine.Model.CommandSpec spec;

  @Override
  public Integer call() {
    throw new CommandLine.ParameterException(
        spec.commandLine(),
        "Say what to measure: " + String.join(", ", spec.subcommands().keySet()));
  }
}
