package io.winnow.pruning.shrink;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import io.winnow.core.InvalidInputException;
import io.winnow.core.LayerSize;
import io.winnow.core.LayerwiseModel;
import io.winnow.core.Provenance;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.core.internal.environment.Interruption;
import io.winnow.core.internal.environment.SilentProgress;
import io.winnow.core.model.MoeModels;
import io.winnow.pruning.CalibrationStatistics;
import io.winnow.pruning.ExpertBudget;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.internal.shrink.FidelitySums;
import io.winnow.pruning.internal.shrink.LayerRecipe;
import io.winnow.pruning.internal.shrink.SequenceSplit;
import io.winnow.pruning.internal.shrink.Walk;
import io.winnow.pruning.internal.shrink.WalkSettings;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.TreeMap;
import java.util.concurrent.CancellationException;
import org.jspecify.annotations.Nullable;

/**
 * Makes the best model of a given size that it can: tries fewer experts, chosen by reconstruction
 * and by REAP, narrower experts, and mixes of both, all repaired; measures how far each is from the
 * full model, and writes the nearest.
 *
 * <pre>{@code
 * ShrinkReport report =
 *     ModelShrinker.builder().build()
 *         .shrink(source, calibration, new SizeLimit.Share(0.5), target);
 * }</pre>
 *
 * <p>Every fourth sequence of the calibration is left out while candidates are compared, by the
 * mean of KL(full || candidate) on it; the winner is then fitted to all. Stock loaders read the
 * result. The checkpoint is mapped for choosing experts, and read layer by layer otherwise.
 * Immutable; thread-safe. An interrupt ends a run with a {@link CancellationException}, of which
 * nothing is left.
 */
public final class ModelShrinker {
  private static final String INTERRUPTED = "Shrinking was interrupted; nothing is left of it";

  private final long memoryBytes;
  private final int batchTokens;
  private final int multiple;
  private final Device device;
  private final long seed;
  private final @Nullable Progress progress;

  private ModelShrinker(Builder builder) {
    memoryBytes = builder.memoryBytes;
    batchTokens = builder.batchTokens;
    multiple = builder.multiple;
    device = builder.device;
    seed = builder.seed;
    progress = builder.progress;
  }

  /** Returns a builder. */
  public static Builder builder() {
    return new Builder();
  }

  /**
   * Shrinks a checkpoint.
   *
   * @param source a checkpoint folder
   * @param calibration at least two sequences
   * @param limit what is never exceeded
   * @param target a folder that does not exist yet; it appears when it is complete
   * @return what was tried, and what was written
   * @throws InvalidInputException if nothing is within the limit, there are too few sequences, the
   *     calibration does not fit the model, weights are not finite, or the target cannot be written
   * @throws java.io.UncheckedIOException if reading or writing fails, as on a full disk
   * @throws CancellationException if the thread is interrupted; its interrupted status is kept
   */
  public ShrinkReport shrink(Path source, Calibration calibration, SizeLimit limit, Path target) {
    Stopwatch time = Stopwatch.createStarted();
    LayerwiseModel model = MoeModels.layerwise(source, tensor -> {});
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
    TokenSequences sequences = calibration.sequences();
    if (sequences.count() < 2 || sequences.length() < 2) {
      throw new InvalidInputException(
          String.format(
              "The calibration has %d sequences of %d tokens; shrinking needs at least 2 of 2, of"
                  + " which one is left for comparing",
              sequences.count(), sequences.length()));
    }
    List<CandidateList.Entry> entries = new CandidateList(model, limit, multiple).entries();
    SequenceSplit split = SequenceSplit.forComparing(sequences);
    try (DraftFolder draft = DraftFolder.beside(target)) {
      CalibrationStatistics seen = needsChoice(entries) ? choose(source, fitted(split)) : null;
      Progress steps = SilentProgress.unless(progress);
      steps.reset("Trying", (long) entries.size() * model.layers());
      List<ShrinkReport.Candidate> candidates = new ArrayList<>();
      ShrinkReport.Candidate full = null;
      for (CandidateList.Entry entry : entries) {
        Walk.Result result =
            new Walk(model, split, settings(steps)).run(recipes(model, entry, seen), null);
        FidelitySums sums = Objects.requireNonNull(result.fidelity());
        candidates.add(candidate(model, entry, sums));
        full = full == null ? fullModel(model, sums) : full;
      }
      steps.end();
      int best = 0;
      for (int i = 1; i < candidates.size(); i++) {
        if (candidates.get(i).divergence() < candidates.get(best).divergence()) {
          best = i;
        }
      }
      CandidateList.Entry winner = entries.get(best);
      CalibrationStatistics all = needsChoice(List.of(winner)) ? choose(source, sequences) : null;
      NarrowingReport written =
          write(model, calibration, winner, recipes(model, winner, all), draft, target);
      return new ShrinkReport(
          limit.inWords(),
          Objects.requireNonNull(full),
          candidates,
          best,
          (long) split.compared() * sequences.length(),
          written,
          time.elapsed());
    }
  }

  private static boolean needsChoice(List<CandidateList.Entry> entries) {
    return entries.stream().anyMatch(entry -> !entry.keepsAll());
  }

  private static TokenSequences fitted(SequenceSplit split) {
    return split.sequences().slice(0, split.fitted() + split.held());
  }

  /** Runs sequences through the full model, so that any number of experts can be chosen. */
  private CalibrationStatistics choose(Path source, TokenSequences sequences) {
    long[][] ids = new long[sequences.count()][];
    Arrays.setAll(ids, sequences::sequence);
    ExpertPruner.Builder pruner = ExpertPruner.builder().optBatchTokens(batchTokens);
    if (progress != null) {
      pruner.optProgress(progress);
    }
    try (Model loaded = MoeModels.loader(source).optDevice(device).load()) {
      return pruner.build().calibrate(loaded, Calibration.ofTokens(ids));
    }
  }

  private Map<Integer, LayerRecipe> recipes(
      LayerwiseModel model, CandidateList.Entry entry, @Nullable CalibrationStatistics seen) {
    Map<Integer, List<Integer>> kept = new TreeMap<>();
    if (!entry.keepsAll()) {
      PruningMethod method =
          entry.byReconstruction() ? PruningMethod.reconstruction() : PruningMethod.reap();
      kept.putAll(
          Objects.requireNonNull(seen)
              .choose(method, ExpertBudget.perLayer(entry.experts()), seed)
              .plan()
              .retained());
    }
    Map<Integer, LayerRecipe> recipes = new TreeMap<>();
    for (LayerwiseModel.MoeLayer layer : model.moeLayers()) {
      List<Integer> retained = kept.getOrDefault(layer.layer(), Sizes.allExperts(layer));
      recipes.put(layer.layer(), new LayerRecipe(retained, entry.width(), List.of()));
    }
    return recipes;
  }

  private WalkSettings settings(Progress steps) {
    return new WalkSettings(device, batchTokens, memoryBytes, true, steps, INTERRUPTED);
  }

  private static ShrinkReport.Candidate candidate(
      LayerwiseModel model, CandidateList.Entry entry, FidelitySums sums) {
    Map<Integer, LayerSize> sizes = Sizes.uniform(model, entry.experts(), entry.width());
    return new ShrinkReport.Candidate(
        entry.name(),
        entry.experts(),
        entry.width(),
        model.fileBytes(sizes),
        model.bytesPerToken(sizes),
        sums.divergence(),
        sums.agreement(),
        sums.overlap(),
        sums.perplexity());
  }

  private static ShrinkReport.Candidate fullModel(LayerwiseModel model, FidelitySums sums) {
    Map<Integer, LayerSize> sizes = Sizes.full(model);
    int experts = sizes.values().stream().mapToInt(LayerSize::experts).max().orElseThrow();
    return new ShrinkReport.Candidate(
        "full",
        experts,
        model.intermediateSize(),
        model.fileBytes(sizes),
        model.bytesPerToken(sizes),
        0,
        1,
        1,
        sums.perplexityOfFull());
  }

  private NarrowingReport write(
      LayerwiseModel model,
      Calibration calibration,
      CandidateList.Entry winner,
      Map<Integer, LayerRecipe> recipes,
      DraftFolder draft,
      Path target) {
    Stopwatch time = Stopwatch.createStarted();
    Progress steps = SilentProgress.unless(progress);
    Provenance provenance =
        new Provenance(
            String.format(
                "shrink-%s-%dx%d-repair", winner.name(), winner.experts(), winner.width()),
            calibration.digest(),
            seed,
            model.sourceDigest());
    LayerwiseModel.Output output =
        model.output(draft.path(), Sizes.uniform(model, winner.experts(), winner.width()), target);
    output.check();
    steps.reset("Writing " + winner.name(), recipes.size());
    Walk.Result result =
        new Walk(model, SequenceSplit.forFit(calibration.sequences()), settings(steps))
            .run(recipes, output);
    Interruption.check(INTERRUPTED);
    output.complete(provenance);
    steps.end();
    return new NarrowingReport(
        result.layers(),
        model.intermediateSize(),
        true,
        calibration.sequences().tokens(),
        provenance,
        time.elapsed());
  }

  /** Builds shrinkers. Not thread-safe. */
  public static final class Builder {
    private long memoryBytes = 1L << 30;
    private int batchTokens = 2048;
    private int multiple = ExpertNarrower.MULTIPLE;
    private Device device = Device.cpu();
    private long seed;
    private @Nullable Progress progress;

    private Builder() {}

    /** Sets the memory of a layer's equations, like {@link ExpertNarrower.Builder#optMemory}. */
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
     * Sets what widths must be a multiple of, like {@link ExpertNarrower.Builder#optMultipleOf}.
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

    /** Sets the seed of everything random; without it, 0. */
    public Builder optSeed(long newSeed) {
      seed = newSeed;
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

    /** Builds the shrinker. */
    public ModelShrinker build() {
      return new ModelShrinker(this);
    }
  }
}
