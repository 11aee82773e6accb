package io.winnow.core.train;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDArrays;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import ai.djl.training.GradientCollector;
import ai.djl.util.Progress;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.decoder.TrainedMerge;
import io.winnow.core.internal.kernel.ExpertWeights;
import io.winnow.core.internal.kernel.array.DeviceTensor;
import io.winnow.core.internal.kernel.array.TensorList;
import io.winnow.core.model.MoeModels;
import io.winnow.core.routing.MappedRouting;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import java.util.function.Function;
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
  private static final double BETA1 = 0.9;
  private static final double BETA2 = 0.999;
  private static final double EPSILON = 1e-8;

  private final int steps;
  private final int batch;
  private final double routerRate;
  private final double expertRate;
  private final double distillation;
  private final int validationInterval;
  private final @Nullable Integer topK;
  private final long seed;
  private final @Nullable Duration timeLimit;
  private final @Nullable Progress progress;

  private MergeTraining(Builder builder) {
    steps = builder.steps;
    batch = builder.batch;
    routerRate = builder.routerRate;
    expertRate = builder.expertRate;
    distillation = builder.distillation;
    validationInterval = builder.validationInterval;
    topK = builder.topK;
    seed = builder.seed;
    timeLimit = builder.timeLimit;
    progress = builder.progress;
  }

  /** Returns a training with the defaults that the builder's methods name. */
  public static MergeTraining ofDefaults() {
    return builder().build();
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * What a training came to.
   *
   * @param merges the best matrices by layer, with elements rounded to float32
   * @param step the step after which they were reached; 0 for the start
   * @param validationLoss their loss on the validation text, in nats per predicted token
   * @param history every measurement, in order
   */
  public record Result(
      Map<Integer, ExpertMerge> merges,
      int step,
      double validationLoss,
      List<Measurement> history) {
    /** Creates a result, copying what it is given. */
    public Result {
      merges = Map.copyOf(merges);
      history = List.copyOf(history);
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
    if (!(MoeModel.of(model) instanceof MoeDecoder decoder)) {
      throw new InvalidInputException(
          "Model '" + model.getName() + "' was not loaded by MoeModels; no other can be trained");
    }
    check(decoder, start);
    FineTuning.checkText("training", training, decoder);
    FineTuning.checkText("validation", validation, decoder);
    try (NDManager manager = decoder.runtime().manager().newSubManager()) {
      return new Run(manager, decoder, start, training, validation).run();
    }
  }

  /** Returns, by layer, the gradients of W_RM and W_EM at the start, for tests. */
  Map<Integer, float[][]> gradients(
      Model model, Map<Integer, ExpertMerge> start, TokenSequences text) {
    MoeDecoder decoder = (MoeDecoder) model.getBlock();
    Map<Integer, float[][]> gradients = new TreeMap<>();
    try (NDManager manager = decoder.runtime().manager().newSubManager()) {
      Run run = new Run(manager, decoder, start, text, text);
      run.backward(manager, text);
      for (Layer layer : run.layers) {
        gradients.put(
            layer.index,
            new float[][] {layer.routerMapping.gradient(), layer.expertMerging.gradient()});
      }
    }
    return gradients;
  }

  private void check(MoeDecoder decoder, Map<Integer, ExpertMerge> start) {
    if (decoder.runtime().type() != DataType.FLOAT32) {
      throw new InvalidInputException(
          "Merges are trained in float32, and the model is in "
              + decoder.runtime().type()
              + "; load it with optDataType(FLOAT32)");
    }
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
            layer.checkMerge(merge, topK(layer));
          }
        });
  }

  private int topK(SparseMoe layer) {
    return topK == null ? layer.routing().topK() : topK;
  }

  private static Map<Integer, SparseMoe> layers(MoeDecoder decoder) {
    Map<Integer, SparseMoe> layers = new TreeMap<>();
    decoder.sparseLayers().forEach(layer -> layers.put(layer.layerIndex(), layer));
    return layers;
  }

  /** One training: everything native belongs to its manager. */
  private final class Run {
    private final NDManager manager;
    private final MoeDecoder decoder;
    private final TokenSequences validation;
    private final List<Layer> layers = new ArrayList<>();
    private final List<Measurement> history = new ArrayList<>();
    private final NextTokenLoss loss = new NextTokenLoss(distillation, 1);
    private final SequenceOrder order;

    Run(
        NDManager manager,
        MoeDecoder decoder,
        Map<Integer, ExpertMerge> start,
        TokenSequences training,
        TokenSequences validation) {
      this.manager = manager;
      this.decoder = decoder;
      this.validation = validation;
      order = new SequenceOrder(training, seed);
      for (SparseMoe layer : decoder.sparseLayers()) {
        ExpertMerge merge = start.get(layer.layerIndex());
        if (merge != null) {
          layers.add(new Layer(manager, layer, merge, topK(layer)));
        }
      }
    }

    Result run() {
      long began = System.nanoTime();
      if (progress != null) {
        progress.reset("Merging", steps);
      }
      double best = measure(0, Double.NaN);
      int bestStep = 0;
      Map<Integer, ExpertMerge> merges = merges();
      double sum = 0;
      int summed = 0;
      for (int step = 1; step <= steps; step++) {
        boolean last = timeLimit != null && timeLimit.toNanos() <= System.nanoTime() - began;
        if (!last) {
          sum += step(step);
          summed++;
          last = step == steps;
          if (progress != null) {
            progress.increment(1);
          }
        }
        if (summed > 0 && (last || step % validationInterval == 0)) {
          int done = summed + history.get(history.size() - 1).step();
          double loss = measure(done, sum / summed);
          if (loss < best) {
            best = loss;
            bestStep = done;
            merges = merges();
          }
          sum = 0;
          summed = 0;
        }
        if (last) {
          break;
        }
      }
      if (progress != null) {
        progress.end();
      }
      return new Result(merges, bestStep, best, history);
    }

    private Map<Integer, ExpertMerge> merges() {
      Map<Integer, ExpertMerge> merges = new TreeMap<>();
      layers.forEach(layer -> merges.put(layer.index, layer.merge()));
      return merges;
    }

    private double measure(int step, double trainingLoss) {
      double sum = 0;
      for (int from = 0; from < validation.count(); from += batch) {
        FineTuning.throwIfInterrupted();
        int to = Math.min(validation.count(), from + batch);
        try (NDManager scratch = manager.newSubManager()) {
          layers.forEach(layer -> layer.open(scratch, false));
          TokenSequences part = validation.slice(from, to);
          NDArray loss = loss(scratch, part, teacher(scratch, part), false);
          sum += loss.getFloat() * (to - from);
        }
      }
      double loss = sum / validation.count();
      history.add(new Measurement(step, trainingLoss, loss));
      return loss;
    }

    private double step(int step) {
      FineTuning.throwIfInterrupted();
      TokenSequences sequences = order.next(batch);
      double warmUp = Math.min(1, step / (0.1 * steps));
      double factor = warmUp * 0.5 * (1 + Math.cos(Math.PI * (step - 1) / steps));
      try (NDManager scratch = manager.newSubManager()) {
        float loss = backward(scratch, sequences);
        if (!Float.isFinite(loss)) {
          throw new InvalidInputException(
              "The loss is "
                  + loss
                  + " in step "
                  + step
                  + ": the model's weights are damaged, or the learning rates too high");
        }
        for (Layer layer : layers) {
          layer.update(step, factor);
        }
        return loss;
      }
    }

    /** Computes the loss and its gradients by the matrices, which are open until scratch closes. */
    float backward(NDManager scratch, TokenSequences sequences) {
      // Outside of the collector, so that no graph is kept of it.
      NDArray teacher = teacher(scratch, sequences);
      layers.forEach(layer -> layer.open(scratch, true));
      try (GradientCollector collector = manager.getEngine().newGradientCollector()) {
        NDArray loss = loss(scratch, sequences, teacher, true);
        collector.backward(loss);
        return loss.getFloat();
      }
    }

    /** What the model as it is expects, {@code [sequences, length - 1, vocabulary]}. */
    private @Nullable NDArray teacher(NDManager scratch, TokenSequences sequences) {
      if (!loss.needsTeacher()) {
        return null;
      }
      try (NDManager pass = scratch.newSubManager()) {
        NDArray expected = loss.expected(decoder.logits(pass, sequences, Map.of()));
        expected.attach(scratch);
        return expected;
      }
    }

    private Map<Integer, TrainedMerge> merged(boolean withGradient) {
      Map<Integer, TrainedMerge> merges = new TreeMap<>();
      layers.forEach(layer -> merges.put(layer.index, layer.trained(withGradient)));
      return merges;
    }

    private NDArray loss(
        NDManager scratch,
        TokenSequences sequences,
        @Nullable NDArray teacher,
        boolean withGradient) {
      Shape shape = new Shape(sequences.count(), sequences.length());
      NDList labels = new NDList(scratch.create(sequences.flatten(0, sequences.count()), shape));
      if (teacher != null) {
        labels.add(teacher);
      }
      NDArray logits = decoder.logits(scratch, sequences, merged(withGradient));
      return loss.evaluate(labels, new NDList(logits));
    }
  }

  /** A layer's two matrices, what Adam knows of them, and the experts they mix. */
  private final class Layer {
    private final int index;
    private final SparseMoe layer;
    private final int layerTopK;
    private final Matrix routerMapping;
    private final Matrix expertMerging;

    /** All experts' gate, up and down weights, each {@code [n, m d]}. */
    private final List<NDArray> stacks = new ArrayList<>();

    private final List<Shape> shapes = new ArrayList<>();

    Layer(NDManager manager, SparseMoe layer, ExpertMerge merge, int layerTopK) {
      index = layer.layerIndex();
      this.layer = layer;
      this.layerTopK = layerTopK;
      routerMapping = new Matrix(merge.routerMapping(), routerRate);
      expertMerging = new Matrix(merge.expertMerging(), expertRate);
      stack(manager, expert -> expert.gate().tensor());
      stack(manager, expert -> expert.up().tensor());
      stack(manager, expert -> expert.down().tensor());
    }

    private void stack(NDManager manager, Function<SparseMoe.Expert, DeviceTensor> weight) {
      NDList weights = new NDList();
      layer.experts().forEach(expert -> weights.add(weight.apply(expert).array()));
      try (NDArray stacked = NDArrays.stack(weights)) {
        NDArray flat = stacked.reshape(weights.size(), -1);
        flat.attach(manager);
        stacks.add(flat);
        shapes.add(weights.head().getShape());
      }
    }

    void open(NDManager scratch, boolean withGradient) {
      routerMapping.open(scratch, withGradient);
      expertMerging.open(scratch, withGradient);
    }

    TrainedMerge trained(boolean withGradient) {
      List<TensorList> merged = new ArrayList<>();
      for (int i = 0; i < stacks.size(); i++) {
        NDArray flat = expertMerging.array().matMul(stacks.get(i));
        List<DeviceTensor> experts = new ArrayList<>();
        for (int row = 0; row < expertMerging.rows; row++) {
          experts.add(DeviceTensor.borrowing(flat.get(row).reshape(shapes.get(i))));
        }
        merged.add(new TensorList(experts));
      }
      return new TrainedMerge(
          MappedRouting.of(layer.mergeableRouting(), routerMapping.matrix(), layerTopK),
          withGradient ? routerMapping.array() : null,
          new ExpertWeights(merged.get(0), merged.get(1), merged.get(2)));
    }

    void update(int step, double factor) {
      routerMapping.update(step, factor);
      expertMerging.update(step, factor);
    }

    ExpertMerge merge() {
      return ExpertMerge.of(routerMapping.matrix(), expertMerging.matrix());
    }
  }

  /**
   * A matrix that Adam trains. DJL's optimizer is not used: nobody closes the arrays that it keeps.
   */
  private static final class Matrix {
    private final int rows;
    private final int columns;
    private final double rate;
    private final float[] elements;
    private final double[] mean;
    private final double[] variance;
    private @Nullable NDArray array;

    Matrix(double[][] start, double rate) {
      rows = start.length;
      columns = start[0].length;
      this.rate = rate;
      elements = new float[rows * columns];
      mean = new double[elements.length];
      variance = new double[elements.length];
      for (int i = 0; i < elements.length; i++) {
        elements[i] = (float) start[i / columns][i % columns];
      }
    }

    double[][] matrix() {
      double[][] matrix = new double[rows][columns];
      for (int i = 0; i < elements.length; i++) {
        matrix[i / columns][i % columns] = elements[i];
      }
      return matrix;
    }

    /** Makes the array of this pass, which belongs to {@code scratch}. */
    void open(NDManager scratch, boolean withGradient) {
      NDArray created = scratch.create(elements, new Shape(rows, columns));
      created.setRequiresGradient(withGradient);
      array = created;
    }

    NDArray array() {
      return Objects.requireNonNull(array);
    }

    float[] gradient() {
      try (NDArray gradient = array().getGradient()) {
        return gradient.toFloatArray();
      }
    }

    void update(int step, double factor) {
      float[] slopes = gradient();
      double meanScale = 1 - Math.pow(BETA1, step);
      double varianceScale = 1 - Math.pow(BETA2, step);
      for (int i = 0; i < elements.length; i++) {
        mean[i] = BETA1 * mean[i] + (1 - BETA1) * slopes[i];
        variance[i] = BETA2 * variance[i] + (1 - BETA2) * slopes[i] * slopes[i];
        elements[i] -=
            (float)
                (rate
                    * factor
                    * (mean[i] / meanScale)
                    / (Math.sqrt(variance[i] / varianceScale) + EPSILON));
      }
    }
  }

  /** Options of a training. Not thread-safe. */
  public static final class Builder {
    private int steps = 40;
    private int batch = 12;
    private double routerRate = 0.02;
    private double expertRate = 0.01;
    private double distillation = 0.9;
    private int validationInterval = 10;
    private @Nullable Integer topK;
    private long seed;
    private @Nullable Duration timeLimit;
    private @Nullable Progress progress;

    private Builder() {}

    /** Sets the number of steps, 40 by default. */
    public Builder optSteps(int newSteps) {
      steps = positive("steps", newSteps);
      return this;
    }

    /** Sets how many sequences a step learns from, 12 by default. */
    public Builder optBatchSize(int sequences) {
      batch = positive("batch size", sequences);
      return this;
    }

    /**
     * Sets the highest learning rates.
     *
     * @param ofRouterMapping of W_RM, 0.02 by default; 0 leaves it as it is
     * @param ofExpertMerging of W_EM, 0.01 by default; 0 leaves it as it is
     */
    public Builder optLearningRates(double ofRouterMapping, double ofExpertMerging) {
      routerRate = rate(ofRouterMapping);
      expertRate = rate(ofExpertMerging);
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
      if (!(share >= 0 && share <= 1)) {
        throw new InvalidInputException(
            "The share of distillation is " + share + "; it must be from 0 to 1");
      }
      distillation = share;
      return this;
    }

    /** Sets after how many steps the validation text is measured again, 10 by default. */
    public Builder optValidationInterval(int newInterval) {
      validationInterval = positive("validation interval", newInterval);
      return this;
    }

    /** Sets how many experts a token selects; without it, as many as the layer's own. */
    public Builder optTopK(int newTopK) {
      topK = positive("top-k", newTopK);
      return this;
    }

    /** Sets the seed of the order of the training text, 0 by default. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
      return this;
    }

    /** Sets after what time no further step is begun. */
    public Builder optTimeLimit(Duration newLimit) {
      timeLimit = newLimit;
      return this;
    }

    /** Sets a listener that is told of every step. */
    public Builder optProgress(Progress newProgress) {
      progress = newProgress;
      return this;
    }

    /** Returns the training. */
    public MergeTraining build() {
      return new MergeTraining(this);
    }

    private static int positive(String name, int value) {
      if (value < 1) {
        throw new InvalidInputException("The " + name + " is " + value + "; use at least 1");
      }
      return value;
    }

    private static double rate(double rate) {
      if (!(rate >= 0 && rate < Double.POSITIVE_INFINITY)) {
        throw new InvalidInputException(
            "A learning rate is " + rate + "; it must be finite, and at least 0");
      }
      return rate;
    }
  }
}
