package io.winnow.examples;

import ai.djl.Model;
import io.winnow.core.Calibration;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.evaluate.Perplexity;
import io.winnow.pruning.evolve.Individual;
import io.winnow.pruning.evolve.SearchSpace;
import java.nio.file.Path;
import java.util.Locale;
import org.jspecify.annotations.Nullable;

/**
 * What {@code winnow evolve} judges models by: the mean log-likelihood of a token of a text. This
 * is the place where other measures of the same file, and merging by gradients, plug in.
 */
final class EvolutionTask {
  private final TokenSequences windows;

  private EvolutionTask(TokenSequences windows) {
    this.windows = windows;
  }

  /** Reads the file of --task. */
  static EvolutionTask read(
      Path model, Path file, @Nullable Integer length, int maxPositions, @Nullable Integer most) {
    TokenSequences windows = TokenFiles.windows(model, file, length, maxPositions, most);
    if (windows.length() < 2) {
      throw new InvalidInputException(
          "--length is " + windows.length() + "; a window needs at least 2 tokens");
    }
    return new EvolutionTask(windows);
  }

  /** Identifies the task. */
  String digest() {
    return "log-likelihood " + windows.digest();
  }

  /** Returns what a model is worth; called by several threads, with a model each. */
  double measure(Model model) {
    return -Perplexity.of(model, windows).nll();
  }

  /** Returns the same text to calibrate on, for an individual to start with. */
  Calibration calibration() {
    long[][] ids = new long[windows.count()][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = windows.sequence(i);
    }
    return Calibration.ofTokens(ids);
  }

  /** Says a fitness in the words of the task. */
  static String describe(double fitness) {
    return String.format(
        Locale.ROOT, "log-likelihood %.6f, perplexity %.4f", fitness, Math.exp(-fitness));
  }

  /** Refuses what does not plug in yet, before any work is done. */
  static void requireGradients() {
    throw new InvalidInputException(
        "--merge gradient is not there yet; use --merge evolution or --merge none");
  }

  /** Trains the merge of the best pruned individual. */
  Individual trainMerge(Model model, SearchSpace space, Individual pruned, long seed) {
    throw new UnsupportedOperationException("requireGradients was not called");
  }
}
