package io.winnow.pruning.internal.stream;

import ai.djl.Device;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.Shape;
import com.google.common.base.Stopwatch;
import io.winnow.core.ForwardObserver;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.TokenSequences;
import java.time.Duration;

/** How long a run on disk will compute, from a few hundred tokens in its first layer of experts. */
public final class TimeEstimate {
  private static final int SAMPLE_TOKENS = 256;

  private TimeEstimate() {}

  /**
   * Measures.
   *
   * @param withOutputs whether every expert computes every token, not only those that it selects
   */
  public static Duration measure(
      LayerwiseModel model,
      TokenSequences sequences,
      StreamShape shape,
      StreamSettings settings,
      boolean withOutputs) {
    Device device = settings.devices().get(0);
    int tokens = Math.min(SAMPLE_TOKENS, sequences.length());
    try (LayerwiseModel.Layer layer = model.openLayer(model.moeLayers().get(0).layer(), device);
        NDManager scratch = layer.manager().newSubManager()) {
      MoeLayerView view = layer.moe().orElseThrow();
      NDArray sample = scratch.randomNormal(new Shape(tokens, model.hiddenSize()));
      ForwardObserver attentionOnly =
          new ForwardObserver() {
            @Override
            public boolean onInput(MoeLayerView moe, NDArray hidden) {
              return false;
            }
          };
      Runnable attention = () -> layer.forward(sample, 1, attentionOnly);
      double attentionSeconds = seconds(attention);
      double few = seconds(() -> evaluate(view, sample, Math.max(1, tokens / 8)));
      double many = seconds(() -> evaluate(view, sample, tokens));
      double perToken = Math.max(0, many - few) / Math.max(1, tokens - Math.max(1, tokens / 8));
      double perCall = Math.max(0, many - perToken * tokens);
      double all = sequences.tokens();
      double calls = Math.ceil(all / Math.min(shape.stepTokens(), shape.batchTokens()));
      double evaluations = withOutputs ? view.numExperts() : view.routing().topK();
      double ofLayer =
          all / tokens * attentionSeconds
              + evaluations * all * perToken
              + view.numExperts() * calls * perCall;
      long devices =
          settings.executor() == null ? 1 : settings.devices().stream().distinct().count();
      return Duration.ofMillis(Math.round(1000 * ofLayer * model.moeLayers().size() / devices));
    }
  }

  private static void evaluate(MoeLayerView view, NDArray sample, int tokens) {
    try (NDArray rows = sample.get("0:" + tokens)) {
      view.expertOutput(0, rows).close();
    }
  }

  /** Returns the shorter of two runs, of which the first reads the weights from disk. */
  private static double seconds(Runnable work) {
    double best = Double.MAX_VALUE;
    for (int i = 0; i < 2; i++) {
      Stopwatch watch = Stopwatch.createStarted();
      work.run();
      best = Math.min(best, watch.elapsed().toNanos() / 1e9);
    }
    return best;
  }
}
