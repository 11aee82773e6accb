package io.winnow.core.train;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.TrainingDivergedException;
import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.index.NDIndex;
import ai.djl.ndarray.types.Shape;
import ai.djl.nn.Parameter;
import ai.djl.training.DefaultTrainingConfig;
import ai.djl.training.GradientCollector;
import ai.djl.training.ParameterStore;
import ai.djl.training.Trainer;
import ai.djl.training.tracker.Tracker;
import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.safetensors.OutputTensor;
import io.winnow.core.internal.safetensors.SafetensorsFile;
import io.winnow.core.internal.safetensors.Segment;
import io.winnow.core.internal.safetensors.TensorType;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Set;
import java.util.TreeMap;
import java.util.stream.Collectors;
import org.jspecify.annotations.Nullable;

/** One run of a {@link FineTuning}: everything native belongs to its manager or the trainer's. */
final class FineTuningRun implements AutoCloseable {
  private final MoeDecoder decoder;
  private final @Nullable Model teacher;
  private final FineTuning.Options options;
  private final TokenSequences validation;
  private final @Nullable TrainingCheckpoints checkpoints;
  private final NextTokenLoss loss;
  private final SequenceOrder order;
  private final NDManager manager;

  /** The weights that are trained, by their names in the checkpoint. */
  private final Map<String, Parameter> parameters = new TreeMap<>();

  private final Map<String, NDArray> best = new TreeMap<>();
  private final OwnedAdamW optimizer;
  private final Trainer trainer;
  private TrainingProgress reached = TrainingProgress.atStart();

  FineTuningRun(
      Model model,
      MoeDecoder decoder,
      @Nullable Model teacher,
      FineTuning.Options options,
      TokenSequences training,
      TokenSequences validation,
      @Nullable TrainingCheckpoints checkpoints) {
    this.decoder = decoder;
    this.teacher = teacher;
    this.options = options;
    this.validation = validation;
    this.checkpoints = checkpoints;
    loss = new NextTokenLoss(teacher == null ? 0 : options.distillation(), options.temperature());
    order = new SequenceOrder(training, options.seed());
    manager = decoder.runtime().manager().newSubManager();
    Set<String> routers =
        decoder.sparseLayers().stream().map(SparseMoe::gateName).collect(Collectors.toSet());
    for (Parameter parameter : decoder.getParameters().values()) {
      String name = parameter.getName();
      if (options.trained() == FineTuning.Trained.ALL
          || routers.contains(name)
          || name.contains("norm")) {
        parameters.put(name, parameter);
        best.put(name, manager.zeros(parameter.getArray().getShape()));
      }
    }
    optimizer = new OwnedAdamW(manager, parameters.values(), learningRate(), options.weightDecay());
    trainer =
        model.newTrainer(
            new DefaultTrainingConfig(loss)
                .optOptimizer(optimizer)
                .optDevices(new Device[] {manager.getDevice()}));
    // A new trainer wants the gradients of all.
    for (Parameter parameter : decoder.getParameters().values()) {
      parameter.freeze(!parameters.containsKey(parameter.getName()));
    }
    trainer.initialize(new Shape(1, 2));
  }

  /** By steps from 1; without a warm-up the first one has the full rate. */
  private Tracker learningRate() {
    int warmUp = Math.max(1, options.warmUp());
    return Tracker.warmUp()
        .optWarmUpSteps(warmUp)
        .setMainTracker(
            Tracker.cosine()
                .setBaseValue((float) options.learningRate())
                .optFinalValue(0)
                // Reaches 0 behind the last step, which then is not for nothing.
                .setMaxUpdates(options.steps() - warmUp + 1)
                .build())
        .build();
  }

  FineTuning.Result run(@Nullable Duration timeLimit, Progress progress) {
    forgetGradients();
    keepBest();
    SafetensorsFile state = checkpoints == null ? null : checkpoints.latest();
    decoder.weightsChange();
    if (state == null) {
      measure();
    } else {
      restore(state);
    }
    long began = System.nanoTime();
    progress.reset("Fine-tuning", options.steps());
    progress.start(reached.step());
    while (reached.step() < options.steps()
        && (timeLimit == null || System.nanoTime() - began < timeLimit.toNanos())) {
      reached = reached.withStep(step(reached.step() + 1));
      if (reached.step() % options.validationInterval() == 0 || reached.step() == options.steps()) {
        measure();
        save();
      }
      progress.update(reached.step(), describe());
    }
    if (reached.summed() > 0) {
      // Before the measurement, so that what goes on equals what was never stopped.
      save();
      measure();
    }
    parameters.forEach((name, parameter) -> copy(best(name), parameter.getArray()));
    progress.end();
    return new FineTuning.Result(
        reached.bestStep(), reached.step(), reached.bestLoss(), reached.history());
  }

  private String describe() {
    return String.format(
        Locale.ROOT, "Fine-tuning (validation perplexity %.3f)", Math.exp(reached.lastLoss()));
  }

  private NDArray best(String name) {
    return Objects.requireNonNull(best.get(name));
  }

  /** An earlier training that was interrupted may have left some. */
  private void forgetGradients() {
    for (Parameter parameter : parameters.values()) {
      try (NDArray gradient = parameter.getArray().getGradient();
          NDArray zeros = manager.zeros(gradient.getShape())) {
        copy(zeros, gradient);
      }
    }
  }

  private void keepBest() {
    parameters.forEach((name, parameter) -> copy(parameter.getArray(), best(name)));
  }

  /**
   * Copies values and no graph, also in a thread that collects gradients. Not by {@code copyTo},
   * which has an array look into memory of Java instead.
   */
  private static void copy(NDArray from, NDArray to) {
    try (NDArray source = from.stopGradient();
        NDArray target = to.stopGradient()) {
      target.set(new NDIndex().addAllDim(), source);
    }
  }

  private void measure() {
    double sum = 0;
    for (int from = 0; from < validation.count(); from += options.batch()) {
      TrainingInput.checkInterrupt();
      int to = Math.min(validation.count(), from + options.batch());
      try (NDManager scratch = manager.newSubManager()) {
        NDArray ids = TrainingInput.ids(scratch, validation.slice(from, to));
        NDArray ofPart =
            loss.evaluate(
                new NDList(ids),
                decoder.forward(new ParameterStore(scratch, false), new NDList(ids), false));
        sum += (double) ofPart.getFloat() * (to - from);
      }
    }
    double measured = sum / validation.count();
    requireFinite("loss on the validation text", measured, reached.step());
    TrainingProgress before = reached;
    reached = before.withMeasurement(measured);
    if (reached.bestStep() == reached.step() && reached.bestLoss() < before.bestLoss()) {
      keepBest();
    }
  }

  /** Takes a step and returns its loss. */
  private double step(int step) {
    double sum = 0;
    for (int i = 0; i < options.accumulation(); i++) {
      TrainingInput.checkInterrupt();
      sum += backward(order.next(options.batch()));
    }
    double mean = sum / options.accumulation();
    requireFinite("loss", mean, step);
    double norm = gradientNorm() / options.accumulation();
    requireFinite("norm of the gradient", norm, step);
    double clipping = options.clip() > 0 && norm > options.clip() ? options.clip() / norm : 1;
    optimizer.begin(step, clipping / options.accumulation());
    trainer.step();
    return mean;
  }

  private void requireFinite(String what, double value, int step) {
    if (!Double.isFinite(value)) {
      throw new TrainingDivergedException(
          String.format(
              "The %s is %s in step %d: the model's weights are damaged, or the learning rate %s is"
                  + " too high",
              what, value, step, options.learningRate()));
    }
  }

  /** Adds to the gradients and returns the loss. */
  private double backward(TokenSequences sequences) {
    try (NDManager scratch = manager.newSubManager()) {
      NDArray ids = TrainingInput.ids(scratch, sequences);
      NDList labels = new NDList(ids);
      if (teacher != null && loss.needsTeacher()) {
        // Outside of the collector, so that no graph is kept of it.
        labels.add(expected(scratch, teacher, ids));
      }
      try (GradientCollector collector = trainer.newGradientCollector()) {
        NDArray ofBatch = loss.evaluate(labels, trainer.forward(new NDList(ids)));
        collector.backward(ofBatch);
        return ofBatch.getFloat();
      }
    }
  }

  private NDArray expected(NDManager scratch, Model other, NDArray ids) {
    try (NDManager pass = scratch.newSubManager(other.getNDManager().getDevice())) {
      NDArray there = ids.toDevice(pass.getDevice(), true);
      there.attach(pass);
      NDArray logits =
          other
              .getBlock()
              .forward(new ParameterStore(pass, false), new NDList(there), false)
              .singletonOrThrow();
      NDArray expected = loss.expected(logits).toDevice(scratch.getDevice(), false);
      expected.attach(scratch);
      return expected;
    }
  }

  private double gradientNorm() {
    double squares = 0;
    for (Parameter parameter : parameters.values()) {
      try (NDArray gradient = parameter.getArray().getGradient();
          NDArray norm = gradient.norm()) {
        squares += Math.pow(norm.getFloat(), 2);
      }
    }
    return Math.sqrt(squares);
  }

  private void save() {
    if (checkpoints == null) {
      return;
    }
    try (NDManager scratch = manager.newSubManager()) {
      List<OutputTensor> state = new ArrayList<>();
      parameters.forEach(
          (name, parameter) -> {
            OwnedAdamW.Averages averages = optimizer.averages(parameter);
            state.add(tensor(scratch, "weight." + name, parameter.getArray()));
            state.add(tensor(scratch, "mean." + name, averages.mean()));
            state.add(tensor(scratch, "variance." + name, averages.variance()));
          });
      checkpoints.save(
          reached.step(),
          state,
          reached.toJson(),
          reached.bestStep(),
          () ->
              best.entrySet().stream()
                  .map(entry -> tensor(scratch, entry.getKey(), entry.getValue()))
                  .toList());
    }
  }

  private OutputTensor tensor(NDManager scratch, String name, NDArray array) {
    return new OutputTensor(
        name,
        TensorType.F32,
        Arrays.stream(array.getShape().getShape()).boxed().toList(),
        List.of(
            new Segment.BufferSegment(
                decoder.runtime().fusedKernel().bytes(scratch, array, TensorType.F32))));
  }

  private void restore(SafetensorsFile state) {
    reached = TrainingProgress.fromJson(TrainingCheckpoints.progress(state));
    order.skip(options.batch(), (long) reached.step() * options.accumulation());
    parameters.forEach(
        (name, parameter) -> {
          OwnedAdamW.Averages averages = optimizer.averages(parameter);
          read(state, "weight." + name, parameter.getArray());
          read(state, "mean." + name, averages.mean());
          read(state, "variance." + name, averages.variance());
        });
    if (reached.bestStep() > 0 && checkpoints != null) {
      SafetensorsFile kept = checkpoints.best(reached.bestStep());
      best.forEach((name, weights) -> read(kept, name, weights));
    }
  }

  private void read(SafetensorsFile file, String name, NDArray target) {
    float[] values = file.readFloats(name);
    if (values.length != target.size()) {
      throw new InvalidInputException(
          String.format(
              "The tensor '%s' of a checkpoint has %d elements, the model's has %d; remove the"
                  + " checkpoints",
              name, values.length, target.size()));
    }
    try (NDArray created = manager.create(values, target.getShape())) {
      copy(created, target);
    }
  }

  /** Leaves the model as one for inference. */
  @Override
  public void close() {
    trainer.close();
    decoder.getParameters().values().forEach(parameter -> parameter.freeze(true));
    manager.close();
  }
}
