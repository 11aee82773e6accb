package io.winnow.examples.cli.train;

import static org.assertj.core.api.Assertions.assertThat;

import io.winnow.core.ExpertMerge;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.pruning.evolve.EvaluatedIndividual;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.Phase;
import io.winnow.pruning.evolve.SearchGeneration;
import io.winnow.pruning.evolve.SearchState;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;

/** What a search shows while it runs. */
class EvolveProgressTest {
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
        new SearchGeneration(
            new SearchState(Phase.MERGING, 1, 1, 0, evaluated, Duration.ZERO), List.of(evaluated)));
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("Searching: 1 of 4 tried, best -2.500000, 0:00:0", "left: 25 %")
        .contains("Searching: 3 of 4 tried", "left: 75 %");
  }
}
