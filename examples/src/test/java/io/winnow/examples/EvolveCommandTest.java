package io.winnow.examples;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.ExpertMerge;
import io.winnow.core.Fixtures;
import io.winnow.pruning.evolve.EvaluatedIndividual;
import io.winnow.pruning.evolve.Generation;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.Phase;
import io.winnow.pruning.evolve.SearchState;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** {@code winnow evolve}. */
class EvolveCommandTest {
  @TempDir private Path folder;

  private Cli.Result run(String... more) {
    List<Object> args =
        new ArrayList<>(
            List.of(
                "evolve",
                "--model",
                Cli.MODEL,
                "--task",
                Fixtures.TEXT.resolve("code.valid.txt"),
                "--length",
                "32",
                "--windows",
                "4",
                "--out",
                folder.resolve("out")));
    args.addAll(Arrays.asList((Object[]) more));
    return Cli.run(args.toArray());
  }

  @ParameterizedTest
  @CsvSource({
    "--retain 9, --retain is 9",
    "--retain 1, --retain is 1",
    "--retain 4 --workers 0, --workers is 0",
    "--retain 4 --evaluations 0, --evaluations is 0",
    "--retain 4 --merge-evaluations 0, --merge-evaluations is 0",
    "--retain 4 --merge best, best"
  })
  void badOptionsAreRefusedBeforeAnyWork(String options, String message) {
    Cli.Result result = run(options.split(" "));
    assertThat(result.code()).isEqualTo(2);
    assertThat(result.complaints()).singleElement().asString().contains(message);
    assertThat(Cli.below(folder)).containsExactly("");
  }

  @Test
  void progressSaysWhatIsBestAndHowLongItTakes() {
    ByteArrayOutputStream err = new ByteArrayOutputStream();
    AtomicLong clock = new AtomicLong();
    EvolveProgress progress =
        new EvolveProgress(
            2,
            2,
            new ConsoleProgress(
                new PrintStream(err, true, StandardCharsets.UTF_8),
                false,
                () -> clock.addAndGet(Duration.ofMinutes(1).toNanos())));
    Individual individual = new Individual(List.of(ExpertMerge.ofRetained(2, 0)), 1);
    EvaluatedIndividual evaluated = new EvaluatedIndividual(individual, -2.5);
    progress.onEvaluation(Phase.PRUNING, evaluated);
    progress.onGeneration(
        new Generation(
            new SearchState(Phase.MERGING, 1, 1, 0, evaluated, Duration.ZERO), List.of(evaluated)));
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("Searching: 1 of 4 tried, best -2.500000, 0:00:0", "left: 25 %")
        .contains("Searching: 3 of 4 tried", "left: 75 %");
  }
}
