package io.winnow.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.training.loss.Loss;

/**
 * The negative log-likelihood of every next token, with a share of distillation (arXiv 1503.02531),
 * in nats per predicted token: {@code (1 - share) nll + share T^2 cross-entropy}, the latter to
 * what a teacher expects at temperature T. It differs from the Kullback-Leibler divergence by the
 * teacher's entropy, which has no gradient.
 *
 * <p>Its numbers are arrays of the logits' manager: DJL's arithmetic with Java's numbers leaves a
 * graph with memory that the collector may reuse.
 */
final class NextTokenLoss extends Loss {
  private final double share;
  private final double temperature;

  /**
   * Creates a loss.
   *
   * @param share from 0, the text alone, to 1, the teacher alone
   * @param temperature by which logits of both are divided, greater than 0
   */
  NextTokenLoss(double share, double temperature) {
    super("NextTokenLoss");
    this.share = share;
    this.temperature = temperature;
  }

  /** Returns whether a teacher has a say. */
  boolean needsTeacher() {
    return share > 0;
  }

  /**
   * Returns what a teacher expects of every next token.
   *
   * @param logits the teacher's, {@code [sequences, length, vocabulary]}
   * @return probabilities {@code [sequences, length - 1, vocabulary]} of the same manager
   */
  NDArray expected(NDArray logits) {
    return likelihoods(predicting(logits), temperature).exp();
  }

  /**
   * Computes the loss; every intermediate result belongs to the manager of the logits.
   *
   * @param labels token ids {@code [sequences, length]} int64; behind them {@link #expected} of a
   *     teacher, or nothing for the text alone
   * @param predictions logits {@code [sequences, length, vocabulary]}
   * @return a number
   */
  @Override
  public NDArray evaluate(NDList labels, NDList predictions) {
    NDArray logits = predicting(predictions.singletonOrThrow());
    NDManager manager = logits.getManager();
    NDArray targets = labels.get(0).get(new NDIndex(":, 1:")).expandDims(-1);
    NDArray likelihoods = likelihoods(logits, 1);
    NDArray ofText = likelihoods.gather(targets, 2).mean().neg();
    if (labels.size() == 1) {
      return ofText;
    }
    NDArray softened = temperature == 1 ? likelihoods : likelihoods(logits, temperature);
    NDArray ofTeacher = labels.get(1).mul(softened).sum(new int[] {-1}).mean().neg();
    return ofText
        .mul(manager.create((float) (1 - share)))
        .add(ofTeacher.mul(manager.create((float) (share * temperature * temperature))));
  }

  /** Leaves out the last position, which predicts nothing that is there. */
  private static NDArray predicting(NDArray logits) {
    return logits.get(new NDIndex(":, :{}", logits.getShape().get(1) - 1));
  }

  private static NDArray likelihoods(NDArray logits, double temperature) {
    NDArray scaled =
        temperature == 1 ? logits : logits.div(logits.getManager().create((float) temperature));
    return scaled.logSoftmax(-1);
  }
}
