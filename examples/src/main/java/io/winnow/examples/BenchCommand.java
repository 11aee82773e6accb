package io.winnow.examples;

import java.nio.file.Path;
import java.util.concurrent.Callable;
import org.jspecify.annotations.Nullable;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

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

  @Command(
      name = "search",
      mixinStandardHelpOptions = true,
      description =
          "The search for the experts of a layer to retain, against running the layer again for"
              + " every subset, as the papers' code does.",
      footer = {
        "",
        "Example: the figures of the README:",
        "  winnow bench search --json search.json",
        "A quick look at a small layer:",
        "  winnow bench search --hidden 256 --intermediate 512 --tokens 512"
      })
  Integer search(
      @Option(
              names = "--hidden",
              defaultValue = "1024",
              description = "hidden size (default: ${DEFAULT-VALUE})")
          int hidden,
      @Option(
              names = "--intermediate",
              defaultValue = "3584",
              description = "intermediate size (default: ${DEFAULT-VALUE})")
          int intermediate,
      @Option(
              names = "--experts",
              defaultValue = "8",
              description = "experts (default: ${DEFAULT-VALUE})")
          int experts,
      @Option(
              names = "--top-k",
              defaultValue = "2",
              description = "experts per token (default: ${DEFAULT-VALUE})")
          int topK,
      @Option(
              names = "--tokens",
              defaultValue = "2048",
              description = "calibration tokens (default: ${DEFAULT-VALUE})")
          int tokens,
      @Option(
              names = "--retain",
              defaultValue = "4",
              description = "experts to retain (default: ${DEFAULT-VALUE})")
          int retain,
      @Option(
              names = "--repeat",
              defaultValue = "1",
              description = "pairs of runs; the median counts (default: ${DEFAULT-VALUE})")
          int repeat,
      @Option(names = "--json", paramLabel = "FILE", description = "result to write as JSON")
          @Nullable Path json)
      throws Exception {
    Outputs.requireFile("--json", json);
    SearchBenchmark benchmark =
        new SearchBenchmark(hidden, intermediate, experts, topK, tokens, retain, repeat);
    SearchBenchmark.Result result = benchmark.run();
    System.out.print(result.table());
    if (json != null) {
      Json.write(json, result.toJson());
    }
    return 0;
  }
}
