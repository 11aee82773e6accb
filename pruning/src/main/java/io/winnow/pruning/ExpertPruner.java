package io.winnow.pruning;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.util.Progress;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.PredictionLayers;
import io.winnow.core.calibration.Calibration;
import io.winnow.pruning.internal.search.RetainedNumber;
import io.winnow.pruning.internal.stream.StreamSettings;
import io.winnow.pruning.internal.work.CalibrationRun;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.CancellationException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.function.Consumer;
import org.jspecify.annotations.Nullable;

/**
 * Removes experts from a Mixture-of-Experts model after training.
 *
 * <pre>{@code
 * PruningReport report = ExpertPruner.prune(model, calibration, 6);   // 8 -> 6 experts a layer, in place
 * }</pre>
 *
 * <p>Immutable; one pruner may serve several threads, but a model that is being pruned must not be
 * used otherwise. It starts no thread. An interrupt ends a run with a {@link CancellationException}
 * and leaves the model as it was.
 */
public final class ExpertPruner {
  private static final long MEMORY_BYTES = 1L << 30;

  private final PruningOptions options;
  private final boolean progressive;
  private final long memoryBytes;
  private final List<Device> devices;
  private final Consumer<String> tensorListener;

  private ExpertPruner(Builder builder) {
    options =
        new PruningOptions(
            builder.method,
            builder.measureLoss,
            builder.sequencesPerGroup,
            builder.batchTokens,
            builder.seed,
            builder.candidates,
            builder.calibrationMemory,
            builder.predictionLayers,
            builder.progress,
            builder.executor);
    progressive = builder.progressive;
    memoryBytes = builder.memoryBytes;
    devices = builder.devices;
    tensorListener = builder.tensorListener;
  }

  /**
   * Keeps the {@code retained} experts of every layer that reconstruct its output best (NAEE, arXiv
   * 2402.14800), and removes the others in place.
   *
   * @param model a model loaded by {@code MoeModels}, or one whose block is a {@link MoeModel}
   * @param calibration what the model is judged on
   * @param retained r, from the number of experts per token to the number of experts
   * @return what was removed, and what it cost
   * @throws InvalidInputException if {@code retained} is out of range, the calibration does not fit
   *     the model, or the weights are not finite; the model is unchanged then
   */
  public static PruningReport prune(Model model, Calibration calibration, int retained) {
    return prune(MoeModel.of(model), calibration, retained);
  }

  /** Prunes like {@link #prune(Model, Calibration, int)} a model of the host application. */
  public static PruningReport prune(MoeModel model, Calibration calibration, int retained) {
    return builder().build().pruneInPlace(model, calibration, retained);
  }

  /**
   * Prunes a checkpoint on disk like {@link #prune(Model, Calibration, int)}, layer by layer, so
   * that one layer has to fit in memory and not the model. It computes in float32.
   *
   * <p>What is done so far is kept in a hidden folder beside the target: after an interrupt, a
   * failure, or the end of the process at any moment, the same call goes on from the last complete
   * layer, and the result is the same byte for byte. Another call for that target is refused.
   *
   * @param source a checkpoint folder
   * @param target a folder that does not exist yet; it appears when it is complete
   * @throws InvalidInputException if {@code retained} is out of range, the calibration does not fit
   *     the model, the weights are not finite, the target exists or cannot be written, or an
   *     unfinished run of another command is in its place
   * @throws java.io.UncheckedIOException if reading or writing fails, as on a full disk
   * @throws CancellationException if the thread is interrupted; its interrupted status is kept
   */
  public static PruningReport prune(
      Path source, Calibration calibration, int retained, Path target) {
    return builder().build().pruneCheckpoint(source, calibration, retained, target);
  }

  /** Returns a builder for everything else. */
  public static Builder builder() {
    return new Builder();
  }

  /** Prunes in place with this pruner's options; otherwise like {@link #prune}. */
  public PruningReport pruneInPlace(Model model, Calibration calibration, int retained) {
    return pruneInPlace(MoeModel.of(model), calibration, retained);
  }

  /** Prunes in place with this pruner's options; otherwise like {@link #prune}. */
  public PruningReport pruneInPlace(MoeModel model, Calibration calibration, int retained) {
    PruningReport report = search(model, calibration, retained);
    report.plan().applyTo(model);
    return report;
  }

  /** Chooses what to remove, and leaves the model as it is; otherwise like {@link #prune}. */
  public PruningReport search(Model model, Calibration calibration, int retained) {
    return search(MoeModel.of(model), calibration, retained);
  }

  /** Chooses what to remove, and leaves the model as it is; otherwise like {@link #prune}. */
  public PruningReport search(MoeModel model, Calibration calibration, int retained) {
    CalibrationRun.check(model, calibration);
    for (MoeLayerView layer : model.moeLayers()) {
      RetainedNumber.check(layer.layerIndex(), layer.numExperts(), layer.routing(), retained);
    }
    PruningTask task = PruningTask.of(options, calibration, retained);
    return progressive
        ? new ProgressivePruner(task, model).report()
        : new InMemoryPruner(task, model).report();
  }

  /** Prunes in place by a budget; otherwise like {@link #pruneInPlace(Model, Calibration, int)}. */
  public PruningReport pruneInPlace(Model model, Calibration calibration, ExpertBudget budget) {
    PruningReport report = search(model, calibration, budget);
    report.plan().applyTo(model);
    return report;
  }

  /**
   * Chooses by a budget what to remove, and leaves the model as it is; otherwise like {@link
   * #prune}.
   *
   * @throws InvalidInputException also if a total is to be divided and this pruner is progressive
   */
  public PruningReport search(Model model, Calibration calibration, ExpertBudget budget) {
    if (budget instanceof ExpertBudget.PerLayer even) {
      return search(model, calibration, even.retained());
    }
    Executor executor = options.executor() == null ? Runnable::run : options.executor();
    return calibrate(model, calibration).choose(options.method(), budget, options.seed(), executor);
  }

  /**
   * Returns what a pass over a model's layers shows; otherwise like {@link #calibrate(MoeModel,
   * Calibration)}.
   */
  public CalibrationStatistics calibrate(Model model, Calibration calibration) {
    return calibrate(MoeModel.of(model), calibration);
  }

  /**
   * Runs the calibration through a model, and returns what any method can choose any number of
   * experts from. The model stays as it is. This pruner's method does not matter.
   *
   * @throws InvalidInputException if the calibration does not fit the model, the weights are not
   *     finite, or this pruner is progressive, which has to decide layer by layer
   */
  public CalibrationStatistics calibrate(MoeModel model, Calibration calibration) {
    if (progressive) {
      throw new InvalidInputException(
          "Progressive pruning decides layer after layer, so that it leaves no statistics to choose"
              + " from, and divides no total; leave out the progressive option");
    }
    CalibrationRun.check(model, calibration);
    // Half of the experts, of which those of a token are likely to be among its candidates.
    int typical =
        model.moeLayers().stream()
            .mapToInt(layer -> Math.max(layer.routing().topK(), layer.numExperts() / 2))
            .min()
            .orElseThrow();
    PruningTask task = new PruningTask(options, calibration, typical, true);
    return new InMemoryPruner(task, model).statistics();
  }

  /**
   * Prunes a checkpoint on disk with this pruner's options; otherwise like {@link #prune(Path,
   * Calibration, int, Path)}.
   *
   * @throws InvalidInputException also if this pruner is progressive, which needs the whole model
   */
  public PruningReport pruneCheckpoint(
      Path source, Calibration calibration, int retained, Path target) {
    return streaming(source, calibration, retained, target).run();
  }

  /**
   * Returns what {@link #pruneCheckpoint} will take, and changes nothing. It computes a few hundred
   * tokens.
   *
   * @throws InvalidInputException as {@link #pruneCheckpoint} does
   */
  public StreamingEstimate estimateCheckpoint(
      Path source, Calibration calibration, int retained, Path target) {
    return streaming(source, calibration, retained, target).estimate();
  }

  private StreamingPruner streaming(
      Path source, Calibration calibration, int retained, Path target) {
    if (progressive) {
      throw new InvalidInputException(
          "Progressive pruning needs the whole model in memory; leave out the progressive option,"
              + " or prune a loaded model");
    }
    return new StreamingPruner(
        PruningTask.of(options, calibration, retained),
        new StreamSettings(devices, options.executor(), options.progress()),
        memoryBytes,
        tensorListener,
        source,
        target);
  }

  /** Builds pruners. Not thread-safe. */
  public static final class Builder {
    private PruningMethod method = PruningMethod.reconstruction();
    private boolean progressive;
    private boolean measureLoss = true;
    private int sequencesPerGroup;
    private @Nullable Integer batchTokens;
    private long seed;
    private @Nullable Progress progress;
    private int candidates;
    private long calibrationMemory = Long.MAX_VALUE;
    private PredictionLayers predictionLayers = PredictionLayers.PRUNE;
    private long memoryBytes = MEMORY_BYTES;
    private List<Device> devices = List.of(Device.cpu());
    private @Nullable ExecutorService executor;
    private Consumer<String> tensorListener = tensor -> {};

    private Builder() {}

    /** Sets the method; without it, NAEE's reconstruction search. */
    public Builder optMethod(PruningMethod newMethod) {
      method = newMethod;
      return this;
    }

    /**
     * Sets whether each layer is judged on inputs from the model whose earlier layers are pruned
     * already (NAEE, table 6). That runs the model, up to the layer, twice for every layer, instead
     * of once for all of them.
     */
    public Builder optProgressive(boolean newProgressive) {
      progressive = newProgressive;
      return this;
    }

    /**
     * Sets whether the loss is measured for methods that do not need it themselves, which costs n
     * expert evaluations per token. Without it, it is.
     */
    public Builder optMeasureLoss(boolean newMeasureLoss) {
      measureLoss = newMeasureLoss;
      return this;
    }

    /**
     * Sets how many sequences make one group of the loss, which sums the groups' norms. Without it,
     * all tokens are one group, as in NAEE's equation 3; NAEE's released code has groups of 8.
     */
    public Builder optSequencesPerGroup(int newSequencesPerGroup) {
      if (newSequencesPerGroup < 0) {
        throw new InvalidInputException(
            "Sequences per group must not be negative, are " + newSequencesPerGroup);
      }
      sequencesPerGroup = newSequencesPerGroup;
      return this;
    }

    /**
     * Sets about how many tokens run through the model at a time; without it, 2048, and for a
     * checkpoint on disk as many as {@link #optMemory} allows.
     */
    public Builder optBatchTokens(int newBatchTokens) {
      checkPositive(newBatchTokens, "Batch tokens must be positive, are ");
      batchTokens = newBatchTokens;
      return this;
    }

    /** Sets the seed of everything random; without it, 0. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
      return this;
    }

    /** Sets a listener that is told of every batch. */
    public Builder optProgress(Progress newProgress) {
      progress = newProgress;
      return this;
    }

    /**
     * Sets how much memory pruning a checkpoint on disk may take for hidden states and experts'
     * outputs, in bytes and for each of the devices that work at the same time; without it, 1 GiB.
     * Hidden states that need more than half of it stay in a file. One layer's attention and one
     * expert in float32 come on top.
     */
    public Builder optMemory(long newMemoryBytes) {
      checkPositive(newMemoryBytes, "The memory must be positive, is ");
      memoryBytes = newMemoryBytes;
      return this;
    }

    /**
     * Sets the devices over which batches of tokens are spread when a checkpoint on disk is pruned;
     * without it, the CPU. They work at the same time if there is an executor; one named twice
     * takes two batches at a time.
     */
    public Builder optDevices(Device... newDevices) {
      if (newDevices.length == 0) {
        throw new InvalidInputException("Name at least one device");
      }
      devices = List.of(newDevices);
      return this;
    }

    /**
     * Sets what runs beside the caller's thread: the search of a layer with many subsets is spread
     * over it, and when a checkpoint on disk is pruned, the next layer is read ahead and several
     * devices work at the same time. Give it a thread for each device and one more. Without it,
     * nothing of that is done. The result is the same. The caller shuts it down.
     */
    public Builder optExecutor(ExecutorService newExecutor) {
      executor = newExecutor;
      return this;
    }

    /**
     * Sets for how many candidates of each token, the experts that it selects and the next best,
     * the inner products are kept; more than a layer's experts count as all of them. Without it,
     * all of up to 16 experts, and of more as many as a token needs to find k retained ones among.
     */
    public Builder optCandidates(int newCandidates) {
      checkPositive(newCandidates, "Candidates must be positive, are ");
      candidates = newCandidates;
      return this;
    }

    /**
     * Sets how many bytes of the Java heap the calibration of all layers (progressive: of one) may
     * take. Where more would be needed, each token keeps fewer candidates, but at least k. Without
     * it, memory does not limit them.
     */
    public Builder optCalibrationMemory(long bytes) {
      checkPositive(bytes, "Calibration memory must be positive, is ");
      calibrationMemory = bytes;
      return this;
    }

    /**
     * Sets what becomes of prediction layers (MTP) when a checkpoint on disk is pruned; without it,
     * they keep the experts of the last layer. {@code MoeModels.save} and {@code writePruned} are
     * told themselves.
     */
    public Builder optPredictionLayers(PredictionLayers newPredictionLayers) {
      predictionLayers = newPredictionLayers;
      return this;
    }

    /**
     * Sets who is told the name of every tensor that is read to compute with when a checkpoint on
     * disk is pruned: each once on each device, a fused one once for each expert. May be called by
     * the executor's threads.
     */
    public Builder optTensorListener(Consumer<String> newListener) {
      tensorListener = newListener;
      return this;
    }

    private static void checkPositive(long value, String message) {
      if (value < 1) {
        throw new InvalidInputException(message + value);
      }
    }

    /** Builds the pruner. */
    public ExpertPruner build() {
      return new ExpertPruner(this);
    }
  }
}
