package io.winnow.pruning.internal.work;

import ai.djl.util.Progress;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import java.util.ArrayList;
import java.util.List;

/** Runs the calibration through a model, batch after batch. */
public final class CalibrationRun {
  /** Tokens that run through a model at a time where the caller has not said how many. */
  public static final int BATCH_TOKENS = 2048;

  private CalibrationRun() {}

  /**
   * Checks that there is something to prune, and that the calibration fits.
   *
   * @throws InvalidInputException if not
   */
  public static void check(MoeModel model, Calibration calibration) {
    if (model.moeLayers().isEmpty()) {
      throw new InvalidInputException(
          "The model has no MoE layer: no layer has experts, so that there is nothing to prune. Give a"
              + " model with experts");
    }
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
  }

  /** Cuts sequences into batches of about so many tokens. */
  public static List<TokenSequences> batches(TokenSequences sequences, int tokens) {
    int size = Math.max(1, tokens / sequences.length());
    List<TokenSequences> batches = new ArrayList<>();
    for (int from = 0; from < sequences.count(); from += size) {
      batches.add(sequences.slice(from, Math.min(sequences.count(), from + size)));
    }
    return batches;
  }

  /** Runs batches through a model, whose layers the observer looks at. */
  public static void forward(
      MoeModel model, List<TokenSequences> batches, ForwardObserver observer, Progress progress) {
    progress.reset("Calibrating", batches.size());
    for (TokenSequences batch : batches) {
      model.forward(batch, observer);
      progress.increment(1);
    }
    progress.end();
  }
}
