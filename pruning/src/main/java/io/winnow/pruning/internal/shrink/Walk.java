package io.winnow.pruning.internal.shrink;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDManager;
import ai.djl.ndarray.types.DataType;
import ai.djl.ndarray.types.Shape;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerCut;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.MoeLayerView;
import io.winnow.core.NarrowableMoeLayer;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.kernel.fit.FitKernel;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.OptionalDouble;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * A walk through the layers of a checkpoint, with all tokens of the calibration: the full model and
 * the one that is cut run side by side, so that each layer is fitted to what the full model has
 * behind it, whatever was spoiled before. One layer is in memory at a time.
 *
 * <p>Memory: the hidden states of all tokens in both models, and for the layer at hand the same
 * four times more, the channels of all tokens' experts, and the equations of the repair.
 */
public final class Walk {
  private final LayerwiseModel model;
  private final SequenceSplit split;
  private final WalkSettings settings;
  private final List<Batch> batches = new ArrayList<>();

  /** Sequences that run through a layer together. */
  private record Batch(int from, int to, int firstToken) {
    int count() {
      return to - from;
    }
  }

  /** What a walk found. */
  public record Result(List<LayerOutcome> layers, @Nullable FidelitySums fidelity) {}

  /** Creates a walk; nothing is read yet. */
  public Walk(LayerwiseModel model, SequenceSplit split, WalkSettings settings) {
    this.model = model;
    this.split = split;
    this.settings = settings;
    int length = split.sequences().length();
    int size = Math.max(1, settings.batchTokens() / length);
    for (int from = 0; from < split.sequences().count(); from += size) {
      int to = Math.min(split.sequences().count(), from + size);
      batches.add(new Batch(from, to, from * length));
    }
  }

  /**
   * Returns the bytes that a walk takes beside the layer that is open.
   *
   * @param topK experts per token
   * @param width the channels that they keep
   */
  public static long memoryBytes(
      LayerwiseModel model, SequenceSplit split, long repairBytes, int topK, int width) {
    long tokens = split.tokens();
    return Float.BYTES * tokens * (8L * model.hiddenSize() + (long) topK * width) + repairBytes;
  }

  /**
   * Walks.
   *
   * @param recipes for every layer with experts what is to become of it
   * @param output what is written on the way; null to write nothing
   * @return what became of the layers, and the fidelity on the sequences for comparing if there are
   *     some
   */
  public Result run(Map<Integer, LayerRecipe> recipes, LayerwiseModel.@Nullable Output output) {
    boolean comparing = split.compared() > 0;
    int layers = model.layers();
    int end = layers;
    if (!comparing) {
      // Behind the last layer with experts nothing is cut.
      List<LayerwiseModel.MoeLayer> moe = model.moeLayers();
      end = moe.get(moe.size() - 1).layer() + 1;
    }
    try (NDManager states = NDManager.newBaseManager(settings.device(), "PyTorch")) {
      FitKernel kernel = new FitKernel(states);
      List<NDArray> full = embed(states);
      List<NDArray> cut = full;
      List<LayerOutcome> outcomes = new ArrayList<>();
      for (int index = 0; index < end; index++) {
        interrupts();
        try (LayerwiseModel.Layer layer = model.openLayer(index, settings.device());
            NDManager work = layer.manager().newSubManager()) {
          LayerRecipe recipe = recipes.get(index);
          MoeLayerView view = layer.moe().orElse(null);
          LayerStep step =
              new LayerStep(kernel, layer, view == null ? null : narrowable(view), states, work);
          List<NDArray> next;
          if (view == null || recipe == null) {
            next = step.plain(full);
            List<NDArray> nextCut = cut == full ? next : step.plain(cut);
            replace(full, cut);
            full = next;
            cut = nextCut;
            write(output, index, null);
          } else {
            boolean cuts = recipe.cuts(view.numExperts(), narrowable(view).intermediateSize());
            boolean first = cut == full;
            next = step.plain(full);
            if (!cuts && (first || !settings.repair())) {
              List<NDArray> nextCut = first ? next : step.plain(cut);
              replace(full, cut);
              full = next;
              cut = nextCut;
              outcomes.add(
                  new LayerOutcome(index, recipe.retained(), List.of(), 0, 1, 0, 0, List.of()));
              write(output, index, LayerCut.ofExperts(recipe.retained()));
            } else {
              List<NDArray> nextCut = step.cut(index, recipe, full, next, cut, outcomes, output);
              replace(full, cut);
              full = next;
              cut = nextCut;
            }
          }
        }
        settings.progress().increment(1);
      }
      if (output != null) {
        for (int index = end; index < layers; index++) {
          write(output, index, null);
        }
      }
      return new Result(outcomes, comparing ? compare(kernel, full, cut) : null);
    }
  }

  private static void write(
      LayerwiseModel.@Nullable Output output, int layer, @Nullable LayerCut cut) {
    if (output == null) {
      return;
    }
    if (cut == null) {
      output.write(layer, List.of());
    } else {
      output.write(layer, cut);
    }
  }

  private static void replace(List<NDArray> full, List<NDArray> cut) {
    full.forEach(NDArray::close);
    if (cut != full) {
      cut.forEach(NDArray::close);
    }
  }

  private void interrupts() {
    Interruption.check(settings.interrupted());
  }

  private static NarrowableMoeLayer narrowable(MoeLayerView view) {
    if (view instanceof NarrowableMoeLayer narrowable) {
      return narrowable;
    }
    throw new InvalidInputException(
        view.getClass().getName()
            + " does not show the last matrices of its experts; let it implement"
            + " NarrowableMoeLayer");
  }

  private List<NDArray> embed(NDManager states) {
    List<NDArray> hidden = new ArrayList<>();
    try (LayerwiseModel.Embedding embedding = model.openEmbedding(settings.device())) {
      for (Batch batch : batches) {
        interrupts();
        hidden.add(embedding.embed(states, split.sequences().slice(batch.from(), batch.to())));
      }
    }
    return hidden;
  }

  /** What happens in one layer. */
  private final class LayerStep {
    private final FitKernel kernel;
    private final LayerwiseModel.Layer layer;
    private final @Nullable NarrowableMoeLayer moe;
    private final NDManager states;
    private final NDManager work;

    LayerStep(
        FitKernel kernel,
        LayerwiseModel.Layer layer,
        @Nullable NarrowableMoeLayer moe,
        NDManager states,
        NDManager work) {
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
        interrupts();
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
        interrupts();
        try (NDManager scratch = work.newSubManager()) {
          layerExperts.add(
              sums,
              layerExperts.features(scratch, expert),
              experts.downProjection(scratch, expert));
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
        interrupts();
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
      Shape shape = new Shape(split.tokens(), model.hiddenSize());
      LayerCutter cutter =
          new LayerCutter(
              work,
              experts,
              kernel,
              layerExperts,
              recipe,
              fittedTokens,
              shape,
              Walk.this::interrupts);
      List<NDArray> next = new ArrayList<>();
      for (int i = 0; i < batches.size(); i++) {
        Batch batch = batches.get(i);
        next.add(
            forward(cut.get(i), batch, input -> rows(cutter.output(), batch, input.getShape())));
      }
      OptionalDouble factor = layer.outputFactor();
      double repairedBy = 0;
      RepairFit.Result result = null;
      NDArray error = error(full, fullNext, next, cutter, factor);
      double target = targetSquares(full, fullNext, factor);
      double before = kernel.squares(error);
      double after = before;
      double held = 1;
      if (settings.repair()) {
        RepairFit fit =
            new RepairFit(
                kernel, work, cutter.features(), settings.memoryBytes(), Walk.this::interrupts);
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
              settings.repair() ? cutter.fewTokens(fittedTokens) : List.of()));
      write(output, index, cutter.cut(repairedBy > 0));
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
      NDArray error = work.zeros(new Shape(tokens, model.hiddenSize()), DataType.FLOAT32);
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
    private double targetSquares(
        List<NDArray> full, List<NDArray> fullNext, OptionalDouble factor) {
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
  }

  /** Makes the sum of a layer's routed experts; the layer closes it. */
  @FunctionalInterface
  private interface RoutedSum {
    NDArray of(NDArray input);
  }

  /** Compares the predictions on the sequences for comparing. */
  private FidelitySums compare(FitKernel kernel, List<NDArray> full, List<NDArray> cut) {
    FidelitySums sums = new FidelitySums();
    int first = split.sequences().count() - split.compared();
    int length = split.sequences().length();
    try (LayerwiseModel.Head head = model.openHead(settings.device())) {
      for (int i = 0; i < batches.size(); i++) {
        Batch batch = batches.get(i);
        for (int sequence = Math.max(first, batch.from()); sequence < batch.to(); sequence++) {
          interrupts();
          int start = (sequence - batch.from()) * length;
          String rows = start + ":" + (start + length);
          try (NDManager scratch = full.get(i).getManager().newSubManager()) {
            NDArray fullRows = LayerExperts.attached(scratch, full.get(i).get(rows));
            NDArray cutRows = LayerExperts.attached(scratch, cut.get(i).get(rows));
            long[] ids = split.sequences().sequence(sequence);
            long[] following = new long[length];
            System.arraycopy(ids, 1, following, 0, length - 1);
            sums.add(
                kernel.fidelity(
                    head.logits(fullRows), head.logits(cutRows), scratch.create(following)));
          }
        }
      }
    }
    return sums;
  }
}
