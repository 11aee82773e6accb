package io.winnow.examples.cli.train;

import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.pruning.evolve.EvaluatedIndividual;
import io.winnow.pruning.evolve.Phase;
import io.winnow.pruning.evolve.SearchGeneration;
import io.winnow.pruning.evolve.SearchListener;
import java.util.Locale;
import java.util.concurrent.TimeUnit;

/** Shows how a search gets on: evaluations, the best so far, and the time left. */
final class EvolveProgress implements SearchListener {
  private final int evaluations;
  private final Progress progress;
  private final Stopwatch time = Stopwatch.createStarted();
  private final int pruning;
  private double best = Double.NEGATIVE_INFINITY;
  private int computed;
  private int done;

  EvolveProgress(int pruning, int merging) {
    this(pruning, merging, new ConsoleProgress());
  }

  EvolveProgress(int pruning, int merging, Progress progress) {
    this.pruning = pruning;
    this.progress = progress;
    evaluations = pruning + merging;
    progress.reset("Searching", evaluations);
  }

  @Override
  public void onEvaluation(Phase phase, EvaluatedIndividual evaluated) {
    best = Math.max(best, evaluated.fitness());
    computed++;
    show(done + 1);
  }

  @Override
  public void onGeneration(SearchGeneration generation) {
    EvaluatedIndividual found = generation.state().best();
    if (found != null) {
      best = found.fitness();
    }
    show(
        generation.state().evaluations()
            + (generation.state().phase() == Phase.MERGING ? pruning : 0));
  }

  private void show(int now) {
    done = now;
    progress.update(done, message());
  }

  private String message() {
    String text =
        String.format(Locale.ROOT, "Searching: %d of %d tried, best %.6f", done, evaluations, best);
    if (computed == 0) {
      return text;
    }
    // What came from a journal took no time.
    long left = time.elapsed(TimeUnit.MILLISECONDS) * (evaluations - done) / computed / 1000;
    return text
        + String.format(Locale.ROOT, ", %d:%02d:%02d left", left / 3600, left / 60 % 60, left % 60);
  }

  void end() {
    progress.end();
  }
}
