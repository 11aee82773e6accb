package io.winnow.core.evaluate;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.ParameterStore;
import ai.djl.util.Progress;
import com.google.common.primitives.Booleans;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.internal.scoring.TargetLikelihoods;
import org.jspecify.annotations.Nullable;

/**
 * How well a model predicts a text: perplexity and next-token accuracy over windows that do not
 * overlap. Each window starts anew, and its first token is not predicted.
 *
 * @param perplexity exp of {@code nll}
 * @param nll the mean negative log-likelihood of a predicted token, in nats
 * @param accuracy the share of predicted tokens that are the model's likeliest
 * @param tokens the number of predicted tokens
 */
public record Perplexity(double perplexity, double nll, double accuracy, long tokens) {
  private static final int BATCH_TOKENS = 4096;

  /**
   * Measures a model.
   *
   * @param model its block takes token ids {@code [sequences, length]} and returns logits {@code
   *     [sequences, length, vocabulary]}, as that of {@code MoeModels.load} does
   * @param windows {@code [windows, length]}, at least 2 tokens long
   * @throws InvalidInputException if the windows do not fit the model
   */
  public static Perplexity of(Model model, TokenSequences windows) {
    return of(model, windows, null);
  }

  /** Measures like {@link #of(Model, TokenSequences)}, telling a listener of every batch. */
  public static Perplexity of(Model model, TokenSequences windows, @Nullable Progress progress) {
    if (windows.length() < 2) {
      throw new InvalidInputException(
          "A window of " + windows.length() + " token predicts nothing; use at least 2 tokens");
    }
    int vocabulary = MoeModel.of(model).vocabularySize();
    int batch = batchSize(windows.length(), vocabulary);
    Progress listener = SilentProgress.unless(progress);
    listener.reset("Evaluating", (windows.count() + batch - 1) / batch);
    double sum = 0;
    long best = 0;
    for (int from = 0; from < windows.count(); from += batch) {
      Interruption.check("The evaluation was interrupted");
      int to = Math.min(windows.count(), from + batch);
      TargetLikelihoods targets = targets(model, windows.slice(from, to));
      for (float likelihood : targets.logLikelihoods()) {
        sum -= likelihood;
      }
      best += Booleans.countTrue(targets.best());
      listener.increment(1);
    }
    listener.end();
    long tokens = (long) windows.count() * (windows.length() - 1);
    double nll = sum / tokens;
    return new Perplexity(Math.exp(nll), nll, (double) best / tokens, tokens);
  }

  private static int batchSize(int length, int vocabulary) {
    return Math.max(
        1, Math.min(TargetLikelihoods.maxSequences(length, vocabulary), BATCH_TOKENS / length));
  }

  private static TargetLikelihoods targets(Model model, TokenSequences windows) {
    try (NDManager manager = model.getNDManager().newSubManager()) {
      int count = windows.count();
      int length = windows.length();
      long[] tokens = windows.flatten(0, count);
      NDArray ids = manager.create(tokens, new Shape(count, length));
      NDArray logits =
          model
              .getBlock()
              .forward(new ParameterStore(manager, false), new NDList(ids), false)
              .singletonOrThrow();
      long[] targets = new long[count * (length - 1)];
      for (int i = 0; i < count; i++) {
        System.arraycopy(tokens, i * length + 1, targets, i * (length - 1), length - 1);
      }
      NDArray predicting = logits.get(new NDIndex(":, :{}", length - 1));
      logits.close();
      return TargetLikelihoods.of(predicting, targets);
    }
  }
}
