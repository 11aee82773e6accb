package io.winnow.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.training.GradientCollector;
import ai.djl.util.Progress;
import io.winnow.core.ExpertMerge;
import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import io.winnow.core.internal.decoder.MoeDecoder;
import io.winnow.core.internal.decoder.SparseMoe;
import io.winnow.core.internal.decoder.TrainedMerge;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import org.jspecify.annotations.Nullable;

/** One run of a {@link MergeTraining}: everything native belongs to its manager. */
final class MergeTrainingRun {
  private final NDManager manager;
  private final MoeDecoder decoder;
  private final MergeTraining.Options options;
  private final TokenSequences validation;
  private final List<TrainedLayer> layers = new ArrayList<>();
  private final List<MergeTraining.Measurement> history = new ArrayList<>();
  private final NextTokenLoss loss;
  private final SequenceOrder order;

  MergeTrainingRun(
      NDManager manager,
      MoeDecoder decoder,
      Map<Integer, ExpertMerge> start,
      MergeTraining.Options options,
      TokenSequences training,
      TokenSequences validation) {
    this.manager = manager;
    this.decoder = decoder;
    this.options = options;
    this.validation = validation;
    loss = new NextTokenLoss(options.distillation(), 1);
    order = new SequenceOrder(training, options.seed());
    for (SparseMoe layer : decoder.sparseLayers()) {
      ExpertMerge merge = start.get(layer.layerIndex());
      if (merge != null) {
        layers.add(new TrainedLayer(manager, layer, merge, options));
      }
    }
  }

  MergeTraining.Result run(@Nullable Duration timeLimit, Progress progress) {
    long began = System.nanoTime();
    int steps = options.steps();
    progress.reset("Merging", steps);
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
        progress.increment(1);
      }
      if (summed > 0 && (last || step % options.validationInterval() == 0)) {
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
    progress.end();
    return new MergeTraining.Result(merges, bestStep, best, history);
  }

  private Map<Integer, ExpertMerge> merges() {
    Map<Integer, ExpertMerge> merges = new TreeMap<>();
    layers.forEach(layer -> merges.put(layer.index(), layer.merge()));
    return merges;
  }

  private double measure(int step, double trainingLoss) {
    double sum = 0;
    for (int from = 0; from < validation.count(); from += options.batch()) {
      TrainingInput.checkInterrupt();
      int to = Math.min(validation.count(), from + options.batch());
      try (NDManager scratch = manager.newSubManager()) {
        layers.forEach(layer -> layer.open(scratch, false));
        TokenSequences part = validation.slice(from, to);
        NDArray loss = loss(scratch, part, teacher(scratch, part), false);
        sum += loss.getFloat() * (to - from);
      }
    }
    double loss = sum / validation.count();
    history.add(new MergeTraining.Measurement(step, trainingLoss, loss));
    return loss;
  }

  private double step(int step) {
    TrainingInput.checkInterrupt();
    TokenSequences sequences = order.next(options.batch());
    double warmUp = Math.min(1, step / (0.1 * options.steps()));
    double factor = warmUp * 0.5 * (1 + Math.cos(Math.PI * (step - 1) / options.steps()));
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
      for (TrainedLayer layer : layers) {
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
    layers.forEach(layer -> merges.put(layer.index(), layer.trained(withGradient)));
    return merges;
  }

  private NDArray loss(
      NDManager scratch,
      TokenSequences sequences,
      @Nullable NDArray teacher,
      boolean withGradient) {
    NDList labels = new NDList(TrainingInput.ids(scratch, sequences));
    if (teacher != null) {
      labels.add(teacher);
    }
    NDArray logits = decoder.logits(scratch, sequences, merged(withGradient));
    return loss.evaluate(labels, new NDList(logits));
  }

  /** Returns, by layer, the gradients of W_RM and W_EM; for tests. */
  Map<Integer, float[][]> gradients(TokenSequences text) {
    backward(manager, text);
    Map<Integer, float[][]> gradients = new TreeMap<>();
    layers.forEach(layer -> gradients.put(layer.index(), layer.gradients()));
    return gradients;
  }
}
