package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.internal.fit.FitKernel;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** What happens in one layer of a walk. Everything in between belongs to a manager of the layer. */
final class LayerStep {
  private final Walk walk;
  private final SequenceSplit split;
  private final List<Batch> batches;
  private final FitKernel kernel;
  private final LayerwiseModel.Layer layer;
  private final @Nullable NarrowableMoeLayer moe;
  private final NDManager states;
  private final NDManager work;

  LayerStep(
      Walk walk,
      FitKernel kernel,
      LayerwiseModel.Layer layer,
      @Nullable NarrowableMoeLayer moe,
      NDManager states,
      NDManager work) {
    this.walk = walk;
    split = walk.split();
    batches = walk.batches();
    this.kernel = kernel;
    this.layer = layer;
    this.moe = moe;
    this.states = states;
    this.work = work;
  }

  /** Runs the layer with all that it has. */
  List<NDArray> plain(List<NDArray> hidden) {
    List<NDArray> next = new ArrayList<>();
    for (int i = 0; i < batches.size(); i++) {
      walk.interrupts();
      next.add(
          forward(
              hidden.get(i),
              batches.get(i),
              input -> {
                List<Integer> all =
                    IntStream.range(0, Objects.requireNonNull(moe).numExperts()).boxed().toList();
                return sum(List.of(input), List.of(0), all);
              }));
    }
    return next;
  }

  private NDArray sum(List<NDArray> inputs, List<Integer> starts, List<Integer> retained) {
    NarrowableMoeLayer experts = Objects.requireNonNull(moe);
    LayerExperts layerExperts = new LayerExperts(experts, kernel, inputs, starts, retained);
    NDArray sums = states.zeros(inputs.get(0).getShape(), DataType.FLOAT32);
    for (int expert : retained) {
      walk.interrupts();
      try (NDManager scratch = work.newSubManager()) {
        layerExperts.add(
            sums, layerExperts.features(scratch, expert), experts.downProjection(scratch, expert));
      }
    }
    return sums;
  }

  /** Runs the layer with another's sum of its routed experts. */
  private NDArray forward(NDArray hidden, Batch batch, RoutedSum routed) {
    NDArray output =
        layer.forward(
            hidden,
            batch.count(),
            new ForwardObserver() {
              @Override
              public NDArray routedOutput(MoeLayerView view, NDArray input) {
                return routed.of(input);
              }
            });
    return Objects.requireNonNull(output);
  }

  /** Returns the inputs of the layer's experts. */
  private List<NDArray> inputs(List<NDArray> hidden) {
    List<NDArray> inputs = new ArrayList<>();
    for (int i = 0; i < batches.size(); i++) {
      walk.interrupts();
      NDArray output =
          layer.forward(
              hidden.get(i),
              batches.get(i).count(),
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView view, NDArray input) {
                  inputs.add(LayerExperts.attached(work, input.duplicate()));
                  return false;
                }
              });
      if (output != null) {
        throw new IllegalStateException("The layer went on, though its observer had ended it");
      }
    }
    return inputs;
  }

  /** Cuts the layer, repairs it, and runs what is left. */
  List<NDArray> cut(
      int index,
      LayerRecipe recipe,
      List<NDArray> full,
      List<NDArray> fullNext,
      List<NDArray> cut,
      List<LayerOutcome> outcomes,
      LayerwiseModel.@Nullable Output output) {
    NarrowableMoeLayer experts = Objects.requireNonNull(moe);
    List<Integer> starts = batches.stream().map(Batch::firstToken).toList();
    List<NDArray> inputs = inputs(cut);
    LayerExperts layerExperts =
        new LayerExperts(experts, kernel, inputs, starts, recipe.retained());
    int fittedTokens = split.allFittedTokens();
    Shape shape = new Shape(split.tokens(), walk.hiddenSize());
    LayerCutter cutter =
        new LayerCutter(
            work, experts, kernel, layerExperts, recipe, fittedTokens, shape, walk::interrupts);
    List<NDArray> next = new ArrayList<>();
    for (int i = 0; i < batches.size(); i++) {
      Batch batch = batches.get(i);
      next.add(forward(cut.get(i), batch, input -> rows(cutter.output(), batch, input.getShape())));
    }
    OptionalDouble factor = layer.outputFactor();
    double repairedBy = 0;
    RepairFit.Result result = null;
    NDArray error = error(full, fullNext, next, cutter, factor);
    double target = targetSquares(full, fullNext, factor);
    double before = kernel.squares(error);
    double after = before;
    double held = 1;
    if (walk.settings().repair()) {
      RepairFit fit =
          new RepairFit(
              kernel, work, cutter.features(), walk.settings().memoryBytes(), walk::interrupts);
      result = fit.fit(work, error, split.fittedTokens(), cutter.features());
      if (!result.isNone()) {
        NDArray more = cutter.change(result.changes());
        repairedBy = result.lambda();
        after = result.after();
        held = result.held();
        add(next, cut, cutter, more, factor);
      }
    }
    outcomes.add(
        new LayerOutcome(
            index,
            recipe.retained(),
            cutter.channels(),
            repairedBy,
            held,
            ratio(before, target),
            ratio(after, target),
            walk.settings().repair() ? cutter.fewTokens(fittedTokens) : List.of()));
    Walk.write(output, index, cutter.cut(repairedBy > 0));
    return next;
  }

  private double ratio(double squares, double target) {
    return target == 0 ? 0 : Math.sqrt(squares / target);
  }

  private NDArray rows(NDArray sums, Batch batch, Shape shape) {
    int end = batch.firstToken() + (int) shape.get(0);
    NDArray view = sums.get(batch.firstToken() + ":" + end);
    try (view) {
      NDArray copy = view.duplicate();
      copy.attach(states);
      return copy;
    }
  }

  /** Returns what the layer lacks on the fitted tokens, {@code [tokens, hiddenSize]}. */
  private NDArray error(
      List<NDArray> full,
      List<NDArray> fullNext,
      List<NDArray> next,
      LayerCutter cutter,
      OptionalDouble factor) {
    int tokens = split.allFittedTokens();
    NDArray error = work.zeros(new Shape(tokens, walk.hiddenSize()), DataType.FLOAT32);
    for (int i = 0; i < batches.size(); i++) {
      Batch batch = batches.get(i);
      int count = Math.min(tokens - batch.firstToken(), (int) next.get(i).getShape().get(0));
      if (count <= 0) {
        break;
      }
      try (NDManager scratch = work.newSubManager()) {
        NDArray of;
        if (factor.isPresent()) {
          of = fullNext.get(i).sub(next.get(i));
          of.attach(scratch);
          of = LayerExperts.attached(scratch, of.div(factor.getAsDouble()));
        } else {
          NDArray mine = rows(cutter.output(), batch, next.get(i).getShape());
          mine.attach(scratch);
          of = LayerExperts.attached(scratch, fullRouted(full.get(i), batch, scratch).sub(mine));
        }
        NDArray part = of.get("0:" + count);
        part.attach(scratch);
        error.set(
            new ai.djl.ndarray.index.NDIndex(
                batch.firstToken() + ":" + (batch.firstToken() + count)),
            part);
      }
    }
    return error;
  }

  /** Returns what the routed experts of the full model add. */
  private NDArray fullRouted(NDArray hidden, Batch batch, NDManager owner) {
    NDArray[] routed = new NDArray[1];
    List<Integer> all =
        IntStream.range(0, Objects.requireNonNull(moe).numExperts()).boxed().toList();
    NDArray output =
        forward(
            hidden,
            batch,
            input -> {
              NDArray sums = sum(List.of(input), List.of(0), all);
              routed[0] = LayerExperts.attached(owner, sums.duplicate());
              return sums;
            });
    output.close();
    return routed[0];
  }

  /** Returns the squares of what the full model adds to its residual stream in this layer. */
  private double targetSquares(List<NDArray> full, List<NDArray> fullNext, OptionalDouble factor) {
    double sum = 0;
    int tokens = split.allFittedTokens();
    for (int i = 0; i < batches.size() && batches.get(i).firstToken() < tokens; i++) {
      try (NDArray added = fullNext.get(i).sub(full.get(i))) {
        sum += kernel.squares(added);
      }
    }
    double by = factor.orElse(1);
    return sum / (by * by);
  }

  /** Adds what the repair adds, to the hidden states behind the layer. */
  private void add(
      List<NDArray> next,
      List<NDArray> cut,
      LayerCutter cutter,
      NDArray more,
      OptionalDouble factor) {
    for (int i = 0; i < batches.size(); i++) {
      Batch batch = batches.get(i);
      NDArray part = rows(more, batch, next.get(i).getShape());
      try (part) {
        NDArray changed;
        if (factor.isPresent()) {
          try (NDArray scaled = part.mul(factor.getAsDouble())) {
            changed = next.get(i).add(scaled);
          }
        } else {
          NDArray before = rows(cutter.output(), batch, part.getShape());
          NDArray sum;
          try (before) {
            sum = LayerExperts.attached(states, before.add(part));
          }
          changed = forward(cut.get(i), batch, input -> sum);
        }
        changed.attach(states);
        next.get(i).close();
        next.set(i, changed);
      }
    }
  }

  /** Makes the sum of a layer's routed experts; the layer closes it. */
  @FunctionalInterface
  private interface RoutedSum {
    NDArray of(NDArray input);
  }
}
