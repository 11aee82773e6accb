package io.winnow.pruning.shrink;

import ai.djl.Device;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.Provenance;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.PruningPlan;
import io.winnow.pruning.internal.shrink.LayerRecipe;
import io.winnow.pruning.internal.shrink.SequenceSplit;
import io.winnow.pruning.internal.shrink.Walk;
import io.winnow.pruning.internal.shrink.WalkSettings;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Makes every expert of a checkpoint narrower, and fits the last matrices of what is left to what
 * the full model computes.
 *
 * <pre>{@code
 * NarrowingReport report = ExpertNarrower.builder().build().narrow(source, calibration, 384, target);
 * }</pre>
 *
 * <p>Channel c of expert i stays if its energy is among the greatest: the square of its column of
 * the last matrix, times the sum over the calibration of the squares of what the column is
 * multiplied by. The repair is ridge regression of the last matrices, expert after expert, layer
 * after layer, towards the full model's residual stream. Neither takes a gradient.
 *
 * <p>The checkpoint is read layer by layer, so that one layer has to fit in memory, with the hidden
 * states of the calibration and what {@link Builder#optMemory} allows. Stock loaders read the
 * result. Immutable; thread-safe. An interrupt ends a run with a {@link CancellationException}, of
 * which nothing is left.
 */
public final class ExpertNarrower {
  /** What stock loaders ask of widths. */
  static final int MULTIPLE = 8;

  private static final String INTERRUPTED = "Narrowing was interrupted; nothing is left of it";

  private final boolean repair;
  private final long memoryBytes;
  private final int batchTokens;
  private final int multiple;
  private final Device device;
  private final @Nullable Progress progress;

  private ExpertNarrower(Builder builder) {
    repair = builder.repair;
    memoryBytes = builder.memoryBytes;
    batchTokens = builder.batchTokens;
    multiple = builder.multiple;
    device = builder.device;
    progress = builder.progress;
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Keeps equally many channels of every expert.
   *
   * @param source a checkpoint folder
   * @param calibration what channels and repair are judged on
   * @param width m', the channels that stay
   * @param target a folder that does not exist yet; it appears when it is complete
   * @throws InvalidInputException if the width is not possible for this checkpoint, the calibration
   *     does not fit the model, weights are not finite, or the target cannot be written
   * @throws java.io.UncheckedIOException if reading or writing fails, as on a full disk
   * @throws CancellationException if the thread is interrupted; its interrupted status is kept
   */
  public NarrowingReport narrow(Path source, Calibration calibration, int width, Path target) {
    return run(source, calibration, null, width, target);
  }

  /**
   * Removes the experts that a plan does not name, and repairs what is left; otherwise like {@link
   * #narrow}.
   */
  public NarrowingReport prune(
      Path source, Calibration calibration, PruningPlan plan, Path target) {
    return run(source, calibration, plan, null, target);
  }

  /** Removes experts and narrows those that stay; otherwise like {@link #narrow}. */
  public NarrowingReport narrow(
      Path source, Calibration calibration, PruningPlan plan, int width, Path target) {
    return run(source, calibration, plan, width, target);
  }

  /**
   * Returns the greatest width that keeps at most a share of the channels of a checkpoint's
   * experts.
   *
   * @param share above 0, at most 1
   * @throws InvalidInputException if the share is less than the least width's
   */
  public int widthOf(Path source, double share) {
    LayerwiseModel model = MoeModels.layerwise(source, tensor -> {});
    int full = model.intermediateSize();
    if (!(share > 0) || share > 1) {
      throw new InvalidInputException(
          "A share of the channels is above 0 and at most 1, but is " + share);
    }
    int width = (int) Math.floor(full * share + 1e-9);
    width = width == full ? full : width / multiple * multiple;
    if (width == 0) {
      throw new InvalidInputException(
          String.format(
              "A share of %s of %d channels is less than the least width, %d; keep at least %s",
              share, full, multiple, (double) multiple / full));
    }
    return width;
  }

  private NarrowingReport run(
      Path source,
      Calibration calibration,
      @Nullable PruningPlan plan,
      @Nullable Integer width,
      Path target) {
    Stopwatch time = Stopwatch.createStarted();
    LayerwiseModel model = MoeModels.layerwise(source, tensor -> {});
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
    int wanted = width == null ? model.intermediateSize() : width;
    checkWidth(model, wanted);
    String method =
        (plan == null ? "" : plan.provenance().method() + "-")
            + (width == null ? "" : "narrow-" + width)
            + (repair ? (width == null ? "repair" : "-repair") : "");
    Provenance provenance =
        new Provenance(
            method,
            calibration.digest(),
            plan == null ? 0 : plan.provenance().seed(),
            model.sourceDigest());
    Map<Integer, LayerRecipe> recipes = new TreeMap<>();
    Map<Integer, LayerSize> sizes = new TreeMap<>();
    for (LayerwiseModel.MoeLayer layer : model.moeLayers()) {
      List<Integer> retained = Sizes.allExperts(layer);
      if (plan != null) {
        retained = plan.retained().getOrDefault(layer.layer(), List.of());
        Sizes.checkRetained(layer, retained);
      }
      recipes.put(layer.layer(), new LayerRecipe(retained, wanted, List.of()));
      sizes.put(layer.layer(), new LayerSize(retained.size(), wanted));
    }
    Walk.Result result = walk(model, calibration, recipes, sizes, provenance, target);
    return new NarrowingReport(
        result.layers(),
        model.intermediateSize(),
        repair,
        calibration.sequences().tokens(),
        provenance,
        time.elapsed());
  }

  private void checkWidth(LayerwiseModel model, int width) {
    int full = model.intermediateSize();
    if (width != full && width % multiple != 0) {
      int below = width / multiple * multiple;
      throw new InvalidInputException(
          String.format(
              "A width of %d is no multiple of %d; the nearest are %s%d",
              width, multiple, below > 0 ? below + " and " : "", Math.min(full, below + multiple)));
    }
    model.checkNarrow(width);
  }

  private Walk.Result walk(
      LayerwiseModel model,
      Calibration calibration,
      Map<Integer, LayerRecipe> recipes,
      Map<Integer, LayerSize> sizes,
      Provenance provenance,
      Path target) {
    Progress steps = SilentProgress.unless(progress);
    try (DraftFolder draft = DraftFolder.beside(target)) {
      LayerwiseModel.Output output = model.output(draft.path(), sizes, target);
      output.check();
      steps.reset(repair ? "Narrowing and repairing" : "Narrowing", recipes.size());
      Walk.Result result =
          new Walk(
                  model,
                  SequenceSplit.forFit(calibration.sequences()),
                  new WalkSettings(device, batchTokens, memoryBytes, repair, steps, INTERRUPTED))
              .run(recipes, output);
      Interruption.check(INTERRUPTED);
      output.complete(provenance);
      steps.end();
      return result;
    }
  }

  /** Builds narrowers. Not thread-safe. */
  public static final class Builder {
    private boolean repair = true;
    private long memoryBytes = 1L << 30;
    private int batchTokens = 2048;
    private int multiple = MULTIPLE;
    private Device device = Device.cpu();
    private @Nullable Progress progress;

    private Builder() {}

    /** Sets whether the last matrices of what is left are fitted anew; without it, they are. */
    public Builder optRepair(boolean newRepair) {
      repair = newRepair;
      return this;
    }

    /**
     * Sets how many bytes the equations of a layer's repair may take; without it, 1 GiB. With less
     * than they need they are made again each time, and last in groups of channels, which is slower
     * and a little worse. Beside them there are the calibration's hidden states, eight times, and
     * what the experts of one layer multiply.
     */
    public Builder optMemory(long newMemoryBytes) {
      memoryBytes = positive(newMemoryBytes, "The memory");
      return this;
    }

    /** Sets about how many tokens run through a layer's attention at a time; without it, 2048. */
    public Builder optBatchTokens(int newBatchTokens) {
      batchTokens = (int) positive(newBatchTokens, "The number of tokens of a batch");
      return this;
    }

    /**
     * Sets what widths must be a multiple of, as formats and kernels ask for; without it, 8, which
     * are 16 bytes in bfloat16: fewer are refused by PyTorch's grouped products, on which
     * Transformers runs experts.
     */
    public Builder optMultipleOf(int newMultiple) {
      multiple = (int) positive(newMultiple, "What widths are a multiple of");
      return this;
    }

    /** Sets the device; without it, the CPU. */
    public Builder optDevice(Device newDevice) {
      device = newDevice;
      return this;
    }

    /** Sets a listener that is told of every layer. */
    public Builder optProgress(Progress newProgress) {
      progress = newProgress;
      return this;
    }

    private static long positive(long value, String what) {
      if (value < 1) {
        throw new InvalidInputException(what + " must be positive, is " + value);
      }
      return value;
    }

    /** Builds the narrower. */
    public ExpertNarrower build() {
      return new ExpertNarrower(this);
    }
  }
}
