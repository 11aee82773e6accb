package io.winnow.core.train;

import ai.djl.Model;
import ai.djl.ndarray.NDManager;
import ai.djl.util.Progress;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.model.MoeModels;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Merging by gradients: W_RM and W_EM of given merges, trained by Adam (arXiv 1412.6980) to lower
 * the negative log-likelihood of a text, while every weight of the model stays as it is.
 *
 * <p>The learning rate rises over the first steps and then falls along a cosine. After every few
 * steps the loss on a validation text is measured, and the matrices that were best on it are the
 * result, the start included: they are few, but soon fit a small training text too well.
 *
 * <p>Immutable and thread-safe. A model must not be changed while a training runs on it; and DJL
 * collects gradients in one thread of a process at a time. The same model, text, options and number
 * of the engine's threads give the same result, unless a time limit ends it.
 */
public final class MergeTraining {
  private final Options options;
  private final @Nullable Duration timeLimit;
  private final @Nullable Progress progress;

  private MergeTraining(Builder builder) {
    options =
        new Options(
            builder.steps,
            builder.batch,
            builder.routerRate,
            builder.expertRate,
            builder.distillation,
            builder.validationInterval,
            builder.topK,
            builder.seed);
    timeLimit = builder.timeLimit;
    progress = builder.progress;
  }

  /** What decides which matrices a training reaches, beside model, merges and texts. */
  record Options(
      int steps,
      int batch,
      double routerRate,
      double expertRate,
      double distillation,
      int validationInterval,
      @Nullable Integer topK,
      long seed) {
    /** Returns how many experts a token of this layer selects. */
    int topK(SparseMoe layer) {
      return topK == null ? layer.routing().topK() : topK;
    }
  }

  /** Returns a training with the defaults that the builder's methods name. */
  public static MergeTraining ofDefaults() {
    return builder().build();
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /** What a training came to. Immutable. */
  public static final class Result extends TrainingResult<Measurement> {
    private final Map<Integer, ExpertMerge> merges;

    Result(
        Map<Integer, ExpertMerge> merges,
        int step,
        double validationLoss,
        List<Measurement> history) {
      super(step, validationLoss, history);
      this.merges = Map.copyOf(merges);
    }

    /** Returns the best matrices by layer, with elements rounded to float32. */
    public Map<Integer, ExpertMerge> merges() {
      return merges;
    }

    @Override
    Object more() {
      return merges;
    }
  }

  /**
   * A measurement of what the training lowers: the negative log-likelihood of the text, with its
   * share of distillation, in nats per predicted token.
   *
   * @param step after how many steps
   * @param trainingLoss the mean of the steps since the last measurement; NaN at the start
   * @param validationLoss on the validation text
   */
  public record Measurement(int step, double trainingLoss, double validationLoss) {}

  /**
   * Trains merges.
   *
   * @param model a model of {@link MoeModels} in float32; merges that are applied to it play no
   *     part
   * @param start by layer what to begin with; other layers run as they are. Each may retain another
   *     number of experts
   * @param training what to learn from, at least 2 tokens long
   * @param validation what to choose the step by, at least 2 tokens long
   * @throws InvalidInputException if model, merges and text do not fit each other
   * @throws CancellationException if the thread is interrupted, which it stays
   */
  public Result run(
      Model model,
      Map<Integer, ExpertMerge> start,
      TokenSequences training,
      TokenSequences validation) {
    MoeDecoder decoder = TrainingInput.decoder(model);
    check(decoder, start);
    TrainingInput.checkText("training", training, decoder);
    TrainingInput.checkText("validation", validation, decoder);
    try (NDManager manager = decoder.runtime().manager().newSubManager()) {
      return new MergeTrainingRun(manager, decoder, start, options, training, validation)
          .run(timeLimit, SilentProgress.unless(progress));
    }
  }

  /** Returns, by layer, the gradients of W_RM and W_EM at the start, for tests. */
  Map<Integer, float[][]> gradients(
      Model model, Map<Integer, ExpertMerge> start, TokenSequences text) {
    MoeDecoder decoder = TrainingInput.decoder(model);
    try (NDManager manager = decoder.runtime().manager().newSubManager()) {
      return new MergeTrainingRun(manager, decoder, start, options, text, text).gradients(text);
    }
  }

  private void check(MoeDecoder decoder, Map<Integer, ExpertMerge> start) {
    TrainingInput.checkType(decoder, "Merges");
    Map<Integer, SparseMoe> layers = layers(decoder);
    if (start.isEmpty() || !layers.keySet().containsAll(start.keySet())) {
      throw new InvalidInputException(
          "The merges are of the layers "
              + new TreeMap<>(start).keySet()
              + ", the model's MoE layers are "
              + layers.keySet()
              + "; name at least one, and no other");
    }
    layers.forEach(
        (index, layer) -> {
          ExpertMerge merge = start.get(index);
          if (merge != null) {
            layer.checkMerge(merge, options.topK(layer));
          }
        });
  }

  private static Map<Integer, SparseMoe> layers(MoeDecoder decoder) {
    Map<Integer, SparseMoe> layers = new TreeMap<>();
    decoder.sparseLayers().forEach(layer -> layers.put(layer.layerIndex(), layer));
    return layers;
  }

  /**
   * Options of a training; by default 40 steps of 12 sequences, measured after every 10. Not
   * thread-safe.
   */
  public static final class Builder extends TrainingBuilder<Builder> {
    private double routerRate = 0.02;
    private double expertRate = 0.01;
    private @Nullable Integer topK;

    private Builder() {
      super(40, 12, 10);
    }

    @Override
    Builder self() {
      return this;
    }

    /**
     * Sets the highest learning rates.
     *
     * @param ofRouterMapping of W_RM, 0.02 by default; 0 leaves it as it is
     * @param ofExpertMerging of W_EM, 0.01 by default; 0 leaves it as it is
     */
    public Builder optLearningRates(double ofRouterMapping, double ofExpertMerging) {
      routerRate = notNegative("learning rate of the router mapping", ofRouterMapping);
      expertRate = notNegative("learning rate of the expert merging", ofExpertMerging);
      return this;
    }

    /**
     * Sets how much of the loss is the cross-entropy to the distribution that the model without
     * merges gives, in place of the text alone (arXiv 1503.02531). It says more about each token
     * than the next one does, so that a small text teaches more before it is fitted too well.
     *
     * @param share from 0 to 1; 0.9 by default
     */
    public Builder optDistillation(double share) {
      distillation(share);
      return this;
    }

    /** Sets how many experts a token selects; without it, as many as the layer's own. */
    public Builder optTopK(int newTopK) {
      topK = atLeast("top-k", newTopK, 1);
      return this;
    }

    /** Returns the training. */
    public MergeTraining build() {
      return new MergeTraining(this);
    }
  }
}
