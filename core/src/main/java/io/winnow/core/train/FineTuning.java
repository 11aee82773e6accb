package io.winnow.core.train;

import ai.djl.Model;
import ai.djl.TrainingDivergedException;
import ai.djl.util.Progress;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.model.MoeModels;
import java.io.UncheckedIOException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Recovery of a pruned model by fine-tuning (NAEE, arXiv 2402.14800, table 4): its weights are
 * trained by DJL's {@code Trainer} to lower the negative log-likelihood of a text, and with a
 * teacher, such as the model before it was pruned, to expect what the teacher expects.
 *
 * <p>AdamW (arXiv 1711.05101) with a learning rate that rises over the first steps and then falls
 * along a cosine; gradients are added up over several batches if wanted, and clipped by the norm of
 * all together. After every few steps the negative log-likelihood of a validation text is measured,
 * and the weights that were best on it stay in the model, those at the start included.
 *
 * <p>Beside the model's weights it holds, of what is trained, the gradients, two averages and the
 * best weights: four times as much again, of which the model keeps the gradients.
 *
 * <p>Immutable and thread-safe. A model must not be used otherwise while it is trained; and DJL
 * collects gradients in one thread of a process at a time. The same models, texts, options and
 * number of the engine's threads give the same weights, bit by bit, also with interruptions, unless
 * a time limit ends it.
 */
public final class FineTuning {
  private final Options options;
  private final @Nullable Duration timeLimit;
  private final @Nullable Path checkpoints;
  private final @Nullable Progress progress;

  private FineTuning(Builder builder) {
    options =
        new Options(
            builder.steps,
            builder.batch,
            builder.accumulation,
            builder.learningRate,
            builder.warmUp == null ? builder.steps / 10 : builder.warmUp,
            builder.clip,
            builder.weightDecay,
            builder.trained,
            builder.distillation,
            builder.temperature,
            builder.validationInterval,
            builder.seed);
    if (options.warmUp() >= options.steps()) {
      throw new InvalidInputException(
          "The warm-up of "
              + options.warmUp()
              + " steps leaves none of "
              + options.steps()
              + " to learn at the full rate; use fewer");
    }
    timeLimit = builder.timeLimit;
    checkpoints = builder.checkpoints;
    progress = builder.progress;
  }

  /** Returns a training with the defaults that the builder's methods name. */
  public static FineTuning ofDefaults() {
    return builder().build();
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /** Which weights are trained. */
  public enum Trained {
    /** All of the model's. */
    ALL,
    /** The routers and the norms; no weight of an expert changes. */
    ROUTERS_AND_NORMS
  }

  /** What decides which weights a training reaches, beside models and texts. */
  record Options(
      int steps,
      int batch,
      int accumulation,
      double learningRate,
      int warmUp,
      double clip,
      double weightDecay,
      Trained trained,
      double distillation,
      double temperature,
      int validationInterval,
      long seed) {
    JsonObject json() {
      JsonObject json = new JsonObject();
      json.addProperty("steps", steps);
      json.addProperty("batch", batch);
      json.addProperty("accumulation", accumulation);
      json.addProperty("learning_rate", learningRate);
      json.addProperty("warm_up", warmUp);
      json.addProperty("clip", clip);
      json.addProperty("weight_decay", weightDecay);
      json.addProperty("trained", trained.name());
      json.addProperty("distillation", distillation);
      json.addProperty("temperature", temperature);
      json.addProperty("validation_interval", validationInterval);
      json.addProperty("seed", seed);
      return json;
    }
  }

  /** What a training came to: the model has the best weights now. Immutable. */
  public static final class Result extends TrainingResult<Measurement> {
    private final int steps;

    Result(int step, int steps, double validationLoss, List<Measurement> history) {
      super(step, validationLoss, history);
      this.steps = steps;
    }

    /** Returns how many steps were taken, those before an interruption included. */
    public int steps() {
      return steps;
    }

    @Override
    Object more() {
      return steps;
    }
  }

  /**
   * A measurement.
   *
   * @param step after how many steps
   * @param trainingLoss what the steps since the last measurement lowered, in the mean: the
   *     negative log-likelihood of the text with its share of distillation; NaN at the start
   * @param validationLoss the negative log-likelihood of the validation text, in nats per predicted
   *     token
   */
  public record Measurement(int step, double trainingLoss, double validationLoss) {}

  /**
   * Trains a model on a text alone; otherwise like {@link #run(Model, Model, TokenSequences,
   * TokenSequences)}.
   */
  public Result run(Model model, TokenSequences training, TokenSequences validation) {
    return start(model, null, training, validation);
  }

  /**
   * Trains a model in place. {@link MoeModels#save} writes it in the types that its folder has.
   *
   * @param model a model of {@link MoeModels} in float32, as it was loaded or pruned, without
   *     merges
   * @param teacher a model with the same vocabulary, in any type, which is only read
   * @param training what to learn from, at least 2 tokens long
   * @param validation what to choose the step by, at least 2 tokens long; in windows as long as
   *     those that the model is measured in later
   * @throws InvalidInputException if models, texts and checkpoints do not fit each other; nothing
   *     has changed then
   * @throws UncheckedIOException if a checkpoint cannot be written
   * @throws TrainingDivergedException if the loss or its gradient is no number any more. The
   *     model's weights are of no use then: close it; checkpoints are those before
   * @throws CancellationException if the thread is interrupted, which it stays; the model has the
   *     weights of the last step, and the checkpoints are kept
   */
  public Result run(
      Model model, Model teacher, TokenSequences training, TokenSequences validation) {
    return start(model, teacher, training, validation);
  }

  private Result start(
      Model model, @Nullable Model teacher, TokenSequences training, TokenSequences validation) {
    MoeDecoder decoder = TrainingInput.decoder(model);
    check(decoder);
    TrainingInput.checkText("training", training, decoder);
    TrainingInput.checkText("validation", validation, decoder);
    if (teacher != null) {
      checkTeacher(decoder, MoeModel.of(teacher), training);
    }
    JsonObject identity = options.json();
    identity.addProperty("model", decoder.source().digest());
    identity.addProperty("retained", retained(decoder));
    identity.addProperty(
        "teacher",
        teacher == null ? null : MoeModel.of(teacher).sourceDigest().orElse(teacher.getName()));
    identity.addProperty("training", training.digest());
    identity.addProperty("validation", validation.digest());
    TrainingCheckpoints folder =
        checkpoints == null ? null : TrainingCheckpoints.open(checkpoints, identity);
    try (FineTuningRun run =
        new FineTuningRun(model, decoder, teacher, options, training, validation, folder)) {
      return run.run(timeLimit, SilentProgress.unless(progress));
    }
  }

  private static String retained(MoeDecoder decoder) {
    return decoder.sparseLayers().stream().map(SparseMoe::stored).toList().toString();
  }

  private static void check(MoeDecoder decoder) {
    TrainingInput.checkType(decoder, "Models");
    decoder.runtime().checkTrainable();
    for (SparseMoe layer : decoder.sparseLayers()) {
      if (layer.applied() != null) {
        throw new InvalidInputException(
            "Layer "
                + layer.layerIndex()
                + " runs with merged experts, which are not trained; call undoMerge(), or save the"
                + " model and load that");
      }
    }
  }

  private static void checkTeacher(MoeDecoder decoder, MoeModel teacher, TokenSequences training) {
    if (teacher == decoder) {
      throw new InvalidInputException("A model cannot be its own teacher; load another");
    }
    if (teacher.vocabularySize() != decoder.vocabularySize()) {
      throw new InvalidInputException(
          String.format(
              "The teacher has a vocabulary of %d tokens, the model one of %d; use a model of the same"
                  + " family, such as the one before pruning",
              teacher.vocabularySize(), decoder.vocabularySize()));
    }
    if (training.length() > teacher.maxPositions()) {
      throw new InvalidInputException(
          String.format(
              "The training text has sequences of %d tokens; the teacher takes %d",
              training.length(), teacher.maxPositions()));
    }
  }

  /**
   * Options of a training; by default 160 steps of 16 sequences, measured after every 20. A
   * checkpoint is written with every measurement, and after a time limit the same training goes on
   * from there. Not thread-safe.
   */
  public static final class Builder extends TrainingBuilder<Builder> {
    private int accumulation = 1;
    private double learningRate = 5e-4;
    private @Nullable Integer warmUp;
    private double clip = 1;
    private double weightDecay = 0.01;
    private Trained trained = Trained.ALL;
    private double temperature = 1;
    private @Nullable Path checkpoints;

    private Builder() {
      super(160, 16, 20);
    }

    @Override
    Builder self() {
      return this;
    }

    /** Sets how many batches a step learns from, 1 by default; more take time, but no memory. */
    public Builder optAccumulation(int batches) {
      accumulation = atLeast("number of batches per step", batches, 1);
      return this;
    }

    /** Sets the highest learning rate, 0.0005 by default. */
    public Builder optLearningRate(double rate) {
      learningRate = positive("learning rate", rate);
      return this;
    }

    /**
     * Sets over how many steps the learning rate rises, a tenth of all by default; it falls along a
     * cosine over the others.
     */
    public Builder optWarmUp(int newSteps) {
      warmUp = atLeast("warm-up", newSteps, 0);
      return this;
    }

    /** Sets the greatest norm of all gradients together, 1 by default; 0 for no limit. */
    public Builder optClip(double norm) {
      clip = notNegative("norm to clip gradients by", norm);
      return this;
    }

    /**
     * Sets by which share of the learning rate a step shrinks the weights, but for norms; 0.01 by
     * default.
     */
    public Builder optWeightDecay(double decay) {
      weightDecay = notNegative("weight decay", decay);
      return this;
    }

    /** Sets which weights are trained, all by default. */
    public Builder optTrained(Trained newTrained) {
      trained = newTrained;
      return this;
    }

    /**
     * Sets how much of the loss is the divergence from what the teacher expects, in place of the
     * text alone (arXiv 1503.02531). Without a teacher it has no effect.
     *
     * @param share from 0 to 1; 0.9 by default
     * @param newTemperature what the logits of both are divided by, 1 by default
     */
    public Builder optDistillation(double share, double newTemperature) {
      distillation(share);
      temperature = positive("temperature", newTemperature);
      return this;
    }

    /**
     * Sets a folder for checkpoints, each of the weights that are trained, twice as much of
     * averages, and the best weights. The same training of the same model goes on from there, and
     * reaches what it would have reached without an interruption. One of another training is
     * refused. When a training has ended the folder can be deleted.
     */
    public Builder optCheckpoints(@Nullable Path folder) {
      checkpoints = folder;
      return this;
    }

    /**
     * Returns the training.
     *
     * @throws InvalidInputException if the warm-up leaves no steps
     */
    public FineTuning build() {
      return new FineTuning(this);
    }
  }
}
