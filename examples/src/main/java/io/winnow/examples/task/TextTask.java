package io.winnow.examples.task;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.evaluate.Perplexity;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.function.ToDoubleFunction;

/** A text, on which a model is worth the mean log-likelihood of a token. */
final class TextTask implements EvolutionTask {
  private final TokenSequences windows;

  TextTask(TokenSequences windows, boolean gradients) {
    if (windows.length() < 2) {
      throw new InvalidInputException(
          "--length is " + windows.length() + "; a window needs at least 2 tokens");
    }
    if (gradients && windows.count() < 2) {
      throw new InvalidInputException(
          "--merge gradient needs at least 2 windows, one to learn from and one to choose by; use"
              + " more text, or a shorter --length");
    }
    this.windows = windows;
  }

  @Override
  public String digest() {
    return "log-likelihood " + windows.digest();
  }

  @Override
  public String textDigest() {
    return windows.digest();
  }

  @Override
  public ToDoubleFunction<MoeModel> measure(List<Model> models) {
    Map<MoeModel, Model> byBlock = new IdentityHashMap<>();
    models.forEach(model -> byBlock.put(MoeModel.of(model), model));
    return block -> -Perplexity.of(Objects.requireNonNull(byBlock.get(block)), windows).nll();
  }

  @Override
  public Calibration calibration() {
    long[][] ids = new long[windows.count()][];
    for (int i = 0; i < ids.length; i++) {
      ids[i] = windows.sequence(i);
    }
    return Calibration.ofTokens(ids);
  }

  @Override
  public TokenSequences trainingText() {
    return windows;
  }

  @Override
  public String columns() {
    return String.format("%14s  %10s  %8s", "log-likelihood", "perplexity", "change");
  }

  @Override
  public String describe(double fitness, double start) {
    return String.format(
        Locale.ROOT,
        "%14.6f  %10.4f  %+6.2f %%",
        fitness,
        Math.exp(-fitness),
        100 * Math.expm1(start - fitness));
  }
}
