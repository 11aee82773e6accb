package io.winnow.pruning;

import static java.util.Objects.requireNonNull;

import ai.djl.Device;
import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.concurrent.CancellationException;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.function.Consumer;
import java.util.stream.IntStream;
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
  static final int BATCH_TOKENS = 2048;
  private static final long MEMORY_BYTES = 1L << 30;

  private final PruningMethod method;
  private final boolean progressive;
  private final boolean measureLoss;
  private final int sequencesPerGroup;
  private final @Nullable Integer batchTokens;
  private final long seed;
  private final @Nullable Progress progress;
  private final int candidates;
  private final long calibrationMemory;
  private final long memoryBytes;
  private final List<Device> devices;
  private final @Nullable ExecutorService executor;
  private final Consumer<String> tensorListener;

  private ExpertPruner(Builder builder) {
    method = builder.method;
    progressive = builder.progressive;
    measureLoss = builder.measureLoss;
    sequencesPerGroup = builder.sequencesPerGroup;
    batchTokens = builder.batchTokens;
    seed = builder.seed;
    progress = builder.progress;
    candidates = builder.candidates;
    calibrationMemory = builder.calibrationMemory;
    memoryBytes = builder.memoryBytes;
    devices = builder.devices;
    executor = builder.executor;
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
    check(model, calibration, retained);
    boolean withOutputs = method.needsExpertOutputs() || measureLoss;
    return new Run(model, calibration, retained, withOutputs).report();
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
    return calibrate(model, calibration).choose(method, budget, seed, executorOrThis());
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
    checkModel(model, calibration);
    // Half of the experts, of which those of a token are likely to be among its candidates.
    int typical =
        model.moeLayers().stream()
            .mapToInt(layer -> Math.max(layer.routing().topK(), layer.numExperts() / 2))
            .min()
            .orElseThrow();
    return new Run(model, calibration, typical, true).statistics();
  }

  private Executor executorOrThis() {
    return executor == null ? Runnable::run : executor;
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
    StreamingPruner.Options options =
        new StreamingPruner.Options(
            method,
            method.needsExpertOutputs() || measureLoss,
            sequencesPerGroup,
            batchTokens,
            seed,
            memoryBytes,
            devices,
            executor,
            candidates,
            calibrationMemory,
            tensorListener,
            progress);
    return new StreamingPruner(options, source, calibration, retained, target);
  }

  private static void check(MoeModel model, Calibration calibration, int retained) {
    checkModel(model, calibration);
    for (MoeLayerView layer : model.moeLayers()) {
      check(layer.layerIndex(), layer.numExperts(), layer.routing(), retained);
    }
  }

  /** Checks that there is something to prune, and that the calibration fits. */
  static void checkModel(MoeModel model, Calibration calibration) {
    requireLayers(model.moeLayers());
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
  }

  /** Checks that there are layers with experts, as dense models of the same families have none. */
  static void requireLayers(List<?> moeLayers) {
    if (moeLayers.isEmpty()) {
      throw new InvalidInputException(
          "The model has no MoE layer: no layer has experts, so that there is nothing to prune. Give a"
              + " model with experts");
    }
  }

  /** Checks that a layer can retain so many experts. */
  static void check(int layer, int numExperts, Routing routing, int retained) {
    int topK = routing.topK();
    if (retained < topK) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: every token selects %d in layer %d; retain %d to %d",
              retained, topK, layer, topK, numExperts));
    }
    if (retained > numExperts) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: layer %d has %d; retain %d to %d",
              retained, layer, numExperts, topK, numExperts));
    }
    checkGroups(layer, numExperts, routing, retained);
  }

  /** Returns whether a layer can retain so many experts. */
  static boolean isPossible(int numExperts, Routing routing, int retained) {
    try {
      check(0, numExperts, routing, retained);
      return true;
    } catch (InvalidInputException e) {
      return false;
    }
  }

  /** Checks what a layer whose groups must stay equally large demands besides. */
  private static void checkGroups(int layer, int numExperts, Routing routing, int retained) {
    int groups = routing.groups();
    if (groups == 1) {
      return;
    }
    if (retained % groups != 0) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: those of layer %d are routed in %d groups, which must stay"
                  + " equally large; retain a multiple of %d",
              retained, layer, groups, groups));
    }
    List<Integer> all = IntStream.range(0, numExperts).boxed().toList();
    List<Integer> any = ExpertGroups.of(routing, numExperts).first(all, retained);
    routing.retain(any.stream().mapToInt(Integer::intValue).toArray());
  }

  /** One search. */
  private final class Run {
    private final MoeModel model;
    private final Calibration calibration;
    private final TokenSequences sequences;
    private final int retained;
    private final Stopwatch total = Stopwatch.createStarted();
    private final Map<Integer, Stopwatch> times = new HashMap<>();
    private final @Nullable String source;
    private final boolean withOutputs;
    private final CandidateBudget budget;

    Run(MoeModel model, Calibration calibration, int retained, boolean withOutputs) {
      this.withOutputs = withOutputs;
      this.model = model;
      this.calibration = calibration;
      this.retained = retained;
      sequences = calibration.sequences();
      budget =
          new CandidateBudget(
              progressive
                  ? List.of()
                  : model.moeLayers().stream().map(CandidateBudget.Layer::of).toList(),
              sequences.tokens(),
              retained,
              withOutputs,
              candidates,
              calibrationMemory);
      source = model.sourceDigest().orElse(null); // Before the work, while its files are there.
    }

    CalibrationStatistics statistics() {
      Map<Integer, LayerCalibration> seen = seeAllLayers();
      return statistics(model.moeLayers().stream().map(layer -> seenOf(seen, layer)).toList());
    }

    private CalibrationStatistics statistics(List<LayerCalibration> seen) {
      return new CalibrationStatistics(
          seen,
          calibration.digest(),
          source,
          sequencesPerGroup,
          calibration.parts(),
          sequences.length());
    }

    private LayerCalibration seenOf(Map<Integer, LayerCalibration> seen, MoeLayerView layer) {
      LayerCalibration ofLayer = requireNonNull(seen.get(layer.layerIndex()));
      checkAllSeen(ofLayer);
      return ofLayer;
    }

    private void checkAllSeen(LayerCalibration seen) {
      if (needsForward() && seen.tokens() != sequences.tokens()) {
        throw new IllegalStateException(
            String.format(
                "The model showed layer %d %d of the %d calibration tokens; its forward must show"
                    + " every MoE layer the input of every token",
                seen.layerIndex(), seen.tokens(), sequences.tokens()));
      }
    }

    PruningReport report() {
      List<PruningReport.PartLoss> parts = new ArrayList<>();
      List<PruningReport.Layer> layers = progressive ? layerAfterLayer() : allLayersAtOnce(parts);
      checkInterrupt();
      return new PruningReport(
          retained,
          progressive,
          sequencesPerGroup,
          sequences.tokens(),
          layers,
          parts,
          new Provenance(
              progressive ? method.name() + "-progressive" : method.name(),
              method.needsCalibration() ? calibration.digest() : null,
              seed,
              source),
          total.elapsed());
    }

    /** One pass over the calibration serves every layer. */
    private Map<Integer, LayerCalibration> seeAllLayers() {
      Map<Integer, LayerCalibration> calibrations = new HashMap<>();
      model.moeLayers().forEach(layer -> calibrations.put(layer.layerIndex(), calibration(layer)));
      int last = lastLayer();
      if (needsForward()) {
        budget.check();
        List<TokenSequences> batches = batches();
        start(batches.size());
        for (TokenSequences batch : batches) {
          model.forward(
              batch,
              new ForwardObserver() {
                @Override
                public boolean onInput(MoeLayerView layer, NDArray hidden) {
                  checkInterrupt();
                  LayerCalibration seen = calibrations.get(layer.layerIndex());
                  if (seen != null) {
                    time(layer, () -> CalibrationPass.add(seen, layer, hidden, withOutputs, null));
                  }
                  return layer.layerIndex() != last;
                }
              });
          step();
        }
        end();
      }
      return calibrations;
    }

    private List<PruningReport.Layer> allLayersAtOnce(List<PruningReport.PartLoss> parts) {
      Map<Integer, LayerCalibration> calibrations = seeAllLayers();
      List<PruningReport.Layer> layers = new ArrayList<>();
      List<LayerCalibration> seen = new ArrayList<>();
      for (MoeLayerView layer : model.moeLayers()) {
        LayerCalibration ofLayer = seenOf(calibrations, layer);
        seen.add(ofLayer);
        layers.add(choose(layer, ofLayer));
      }
      if (withOutputs) {
        parts.addAll(statistics(seen).partLosses(layers));
      }
      return withTrueLosses(layers);
    }

    /**
     * Progressive (NAEE, table 6): a layer's input comes from the model whose earlier layers are
     * pruned already; the target stays what the original model's layer gives.
     */
    private List<PruningReport.Layer> layerAfterLayer() {
      List<TokenSequences> batches = needsForward() ? batches() : List.of();
      start((long) batches.size() * model.moeLayers().size());
      Map<Integer, List<Integer>> chosen = new HashMap<>();
      List<PruningReport.Layer> layers = new ArrayList<>();
      for (MoeLayerView layer : model.moeLayers()) {
        LayerCalibration seen = calibration(layer);
        for (TokenSequences batch : batches) {
          checkInterrupt();
          OutputOf original = new OutputOf(layer);
          if (withOutputs) {
            model.forward(batch, original);
          }
          model.forward(
              batch,
              new Restricted(chosen) {
                @Override
                public boolean onInput(MoeLayerView current, NDArray hidden) {
                  if (current.layerIndex() != layer.layerIndex()) {
                    return true;
                  }
                  time(
                      layer,
                      () ->
                          CalibrationPass.add(seen, layer, hidden, withOutputs, original.floats()));
                  return false;
                }
              });
          step();
        }
        checkAllSeen(seen);
        PruningReport.Layer choice = choose(layer, seen);
        if (choice.truncatedTokens() > 0) {
          choice = choice.withLoss(trueLossAfter(layer, choice.retained(), batches, chosen));
        }
        chosen.put(layer.layerIndex(), choice.retained());
        layers.add(choice);
      }
      end();
      return layers;
    }

    /** Computes the losses for which the inner products did not suffice, by running the layers. */
    private List<PruningReport.Layer> withTrueLosses(List<PruningReport.Layer> layers) {
      Map<Integer, List<Integer>> retainedOf = new HashMap<>();
      Map<Integer, GroupedSum> sums = new HashMap<>();
      for (PruningReport.Layer layer : layers) {
        if (layer.truncatedTokens() > 0) {
          retainedOf.put(layer.layer(), layer.retained());
          sums.put(layer.layer(), new GroupedSum(tokensPerGroup()));
        }
      }
      if (sums.isEmpty()) {
        return layers;
      }
      int last = lastLayer();
      for (TokenSequences batch : batches()) {
        model.forward(
            batch,
            new ForwardObserver() {
              @Override
              public boolean onInput(MoeLayerView layer, NDArray hidden) {
                checkInterrupt();
                GroupedSum sum = sums.get(layer.layerIndex());
                List<Integer> kept = retainedOf.get(layer.layerIndex());
                if (sum != null && kept != null) {
                  double[] original = RoutedOutput.of(layer, hidden, null);
                  sum.addChanges(original, RoutedOutput.of(layer, hidden, kept), width(hidden));
                }
                return layer.layerIndex() != last;
              }
            });
      }
      return layers.stream()
          .map(
              layer -> {
                GroupedSum sum = sums.get(layer.layer());
                return sum == null ? layer : layer.withLoss(sum.sumOfRoots());
              })
          .toList();
    }

    /** The same for one layer behind pruned ones. */
    private double trueLossAfter(
        MoeLayerView layer,
        List<Integer> kept,
        List<TokenSequences> batches,
        Map<Integer, List<Integer>> chosen) {
      GroupedSum sum = new GroupedSum(tokensPerGroup());
      for (TokenSequences batch : batches) {
        checkInterrupt();
        OutputOf original = new OutputOf(layer);
        model.forward(batch, original);
        model.forward(
            batch,
            new Restricted(chosen) {
              @Override
              public boolean onInput(MoeLayerView current, NDArray hidden) {
                if (current.layerIndex() != layer.layerIndex()) {
                  return true;
                }
                double[] output = RoutedOutput.of(layer, hidden, kept);
                sum.addChanges(requireNonNull(original.output), output, width(hidden));
                return false;
              }
            });
      }
      return sum.sumOfRoots();
    }

    private static int width(NDArray hidden) {
      return (int) hidden.getShape().get(1);
    }

    private long tokensPerGroup() {
      return ExpertPruner.tokensPerGroup(sequences, sequencesPerGroup);
    }

    private LayerCalibration calibration(MoeLayerView layer) {
      return newCalibration(
          layer.layerIndex(),
          layer.numExperts(),
          layer.routing(),
          sequences,
          sequencesPerGroup,
          budget.candidates(CandidateBudget.Layer.of(layer)));
    }

    private PruningReport.Layer choose(MoeLayerView layer, LayerCalibration seen) {
      checkInterrupt();
      Stopwatch time = watch(layer);
      time.start();
      return ExpertPruner.choose(method, seen, retained, seed, executor, time);
    }

    private boolean needsForward() {
      return withOutputs || method.needsCalibration();
    }

    private int lastLayer() {
      List<? extends MoeLayerView> layers = model.moeLayers();
      return layers.get(layers.size() - 1).layerIndex();
    }

    private List<TokenSequences> batches() {
      return ExpertPruner.batches(sequences, batchTokens == null ? BATCH_TOKENS : batchTokens);
    }

    private void time(MoeLayerView layer, Runnable work) {
      Stopwatch time = watch(layer);
      time.start();
      work.run();
      time.stop();
    }

    private Stopwatch watch(MoeLayerView layer) {
      return times.computeIfAbsent(layer.layerIndex(), index -> Stopwatch.createUnstarted());
    }

    private void start(long steps) {
      if (progress != null) {
        progress.reset("Calibrating", steps);
      }
    }

    private void step() {
      if (progress != null) {
        progress.increment(1);
      }
    }

    private void end() {
      if (progress != null) {
        progress.end();
      }
    }
  }

  /** Cuts sequences into batches of about so many tokens. */
  static List<TokenSequences> batches(TokenSequences sequences, int tokens) {
    int size = Math.max(1, tokens / sequences.length());
    List<TokenSequences> batches = new ArrayList<>();
    for (int from = 0; from < sequences.count(); from += size) {
      batches.add(sequences.slice(from, Math.min(sequences.count(), from + size)));
    }
    return batches;
  }

  static LayerCalibration newCalibration(
      int layer,
      int numExperts,
      Routing routing,
      TokenSequences sequences,
      int perGroup,
      int candidates) {
    return new LayerCalibration(
        layer, numExperts, routing, tokensPerGroup(sequences, perGroup), candidates);
  }

  static long tokensPerGroup(TokenSequences sequences, int perGroup) {
    return perGroup == 0 ? sequences.tokens() : (long) perGroup * sequences.length();
  }

  /**
   * Chooses what a layer retains.
   *
   * @param executor runs parts of the search; null for the calling thread alone
   * @param time the running time of the layer, which is stopped
   */
  static PruningReport.Layer choose(
      PruningMethod method,
      LayerCalibration seen,
      int retained,
      long seed,
      @Nullable Executor executor,
      Stopwatch time) {
    PruningMethod.Choice choice =
        method.choose(seen, retained, seed, executor == null ? Runnable::run : executor);
    OptionalDouble loss = OptionalDouble.empty();
    OptionalDouble relative = OptionalDouble.empty();
    long truncated = 0;
    if (seen.hasExpertOutputs()) {
      double value = seen.loss(choice.retained());
      double norm = seen.targetNorm();
      loss = OptionalDouble.of(value);
      relative = OptionalDouble.of(norm == 0 ? 0 : value / norm);
      truncated = seen.truncatedTokens(choice.retained());
    }
    time.stop();
    return new PruningReport.Layer(
        seen.layerIndex(),
        choice.retained(),
        seen.others(choice.retained()),
        loss,
        relative,
        choice.exact(),
        choice.losses(),
        truncated,
        time.elapsed());
  }

  /** Ends a run whose thread was interrupted. Nothing was removed so far. */
  static void checkInterrupt() {
    if (Thread.currentThread().isInterrupted()) {
      throw new CancellationException("Pruning was interrupted; the model is unchanged");
    }
  }

  /** Computes one layer's output in the model as it is, and ends the pass there. */
  private static final class OutputOf implements ForwardObserver {
    private final MoeLayerView wanted;
    private double @Nullable [] output;

    OutputOf(MoeLayerView wanted) {
      this.wanted = wanted;
    }

    @Override
    public boolean onInput(MoeLayerView layer, NDArray hidden) {
      if (layer.layerIndex() != wanted.layerIndex()) {
        return true;
      }
      output = RoutedOutput.of(layer, hidden, null);
      return false;
    }

    float @Nullable [] floats() {
      return output == null ? null : Floats.toArray(Doubles.asList(output));
    }
  }

  /** Routes some layers as if their other experts were removed. */
  private abstract static class Restricted implements ForwardObserver {
    private final Map<Integer, List<Integer>> retained;

    Restricted(Map<Integer, List<Integer>> retained) {
      this.retained = retained;
    }

    @Override
    public RoutingDecision onRouting(MoeLayerView layer, float[] logits, RoutingDecision decision) {
      List<Integer> kept = retained.get(layer.layerIndex());
      if (kept == null) {
        return decision;
      }
      int[] experts = kept.stream().mapToInt(Integer::intValue).toArray();
      return layer.routing().routeAmong(logits, layer.numExperts(), experts);
    }
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
      if (newBatchTokens < 1) {
        throw new InvalidInputException("Batch tokens must be positive, are " + newBatchTokens);
      }
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
      if (newMemoryBytes < 1) {
        throw new InvalidInputException("The memory must be positive, is " + newMemoryBytes);
      }
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
      if (newCandidates < 1) {
        throw new InvalidInputException("Candidates must be positive, are " + newCandidates);
      }
      candidates = newCandidates;
      return this;
    }

    /**
     * Sets how many bytes of the Java heap the calibration of all layers (progressive: of one) may
     * take. Where more would be needed, each token keeps fewer candidates, but at least k. Without
     * it, memory does not limit them.
     */
    public Builder optCalibrationMemory(long bytes) {
      if (bytes < 1) {
        throw new InvalidInputException("Calibration memory must be positive, is " + bytes);
      }
      calibrationMemory = bytes;
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

    /** Builds the pruner. */
    public ExpertPruner build() {
      return new ExpertPruner(this);
    }
  }
}
