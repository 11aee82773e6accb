package io.winnow.pruning;

import static java.util.Objects.requireNonNull;

import ai.djl.Model;
import ai.djl.ndarray.NDArray;
import ai.djl.util.Progress;
import com.google.common.base.Stopwatch;
import com.google.common.primitives.Doubles;
import com.google.common.primitives.Floats;
import io.winnow.core.Calibration;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Provenance;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.concurrent.CancellationException;
import java.util.concurrent.Executor;
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
  private final PruningMethod method;
  private final boolean progressive;
  private final boolean measureLoss;
  private final int sequencesPerGroup;
  private final int batchTokens;
  private final long seed;
  private final @Nullable Progress progress;
  private final Executor executor;
  private final int candidates;
  private final long calibrationMemory;

  private ExpertPruner(Builder builder) {
    method = builder.method;
    progressive = builder.progressive;
    measureLoss = builder.measureLoss;
    sequencesPerGroup = builder.sequencesPerGroup;
    batchTokens = builder.batchTokens;
    seed = builder.seed;
    progress = builder.progress;
    executor = builder.executor;
    candidates = builder.candidates;
    calibrationMemory = builder.calibrationMemory;
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
    return new Run(model, calibration, retained).report();
  }

  private static void check(MoeModel model, Calibration calibration, int retained) {
    if (model.moeLayers().isEmpty()) {
      throw new InvalidInputException("The model has no MoE layer, so that nothing can be pruned");
    }
    calibration.checkFits(model.vocabularySize(), model.maxPositions());
    for (MoeLayerView layer : model.moeLayers()) {
      int topK = layer.routing().topK();
      if (retained < topK) {
        throw new InvalidInputException(
            String.format(
                "Cannot retain %d experts: every token selects %d in layer %d; retain %d to %d",
                retained, topK, layer.layerIndex(), topK, layer.numExperts()));
      }
      if (retained > layer.numExperts()) {
        throw new InvalidInputException(
            String.format(
                "Cannot retain %d experts: layer %d has %d; retain %d to %d",
                retained, layer.layerIndex(), layer.numExperts(), topK, layer.numExperts()));
      }
      checkGroups(layer, retained);
    }
  }

  /** Checks what a layer whose groups must stay equally large demands besides. */
  private static void checkGroups(MoeLayerView layer, int retained) {
    int groups = layer.routing().groups();
    if (groups == 1) {
      return;
    }
    if (retained % groups != 0) {
      throw new InvalidInputException(
          String.format(
              "Cannot retain %d experts: those of layer %d are routed in %d groups, which must stay"
                  + " equally large; retain a multiple of %d",
              retained, layer.layerIndex(), groups, groups));
    }
    List<Integer> all = IntStream.range(0, layer.numExperts()).boxed().toList();
    List<Integer> any = ExpertGroups.of(layer.routing(), layer.numExperts()).first(all, retained);
    layer.routing().retain(any.stream().mapToInt(Integer::intValue).toArray());
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
    private final boolean withOutputs = method.needsExpertOutputs() || measureLoss;
    private final CandidateBudget budget;

    Run(MoeModel model, Calibration calibration, int retained) {
      this.model = model;
      this.calibration = calibration;
      this.retained = retained;
      sequences = calibration.sequences();
      budget =
          new CandidateBudget(
              progressive ? List.of() : model.moeLayers(),
              sequences.tokens(),
              retained,
              withOutputs,
              candidates,
              calibrationMemory);
      source = model.sourceDigest().orElse(null); // Before the work, while its files are there.
    }

    PruningReport report() {
      List<PruningReport.Layer> layers = progressive ? layerAfterLayer() : allLayersAtOnce();
      checkInterrupt();
      return new PruningReport(
          retained,
          progressive,
          sequencesPerGroup,
          sequences.tokens(),
          layers,
          new Provenance(
              progressive ? method.name() + "-progressive" : method.name(),
              method.needsCalibration() ? calibration.digest() : null,
              seed,
              source),
          total.elapsed());
    }

    /** One pass over the calibration serves every layer. */
    private List<PruningReport.Layer> allLayersAtOnce() {
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
      List<PruningReport.Layer> layers = new ArrayList<>();
      for (MoeLayerView layer : model.moeLayers()) {
        LayerCalibration seen = calibrations.get(layer.layerIndex());
        if (seen != null) {
          layers.add(choose(layer, seen));
        }
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
      return sequencesPerGroup == 0
          ? sequences.tokens()
          : (long) sequencesPerGroup * sequences.length();
    }

    private LayerCalibration calibration(MoeLayerView layer) {
      return new LayerCalibration(
          layer.layerIndex(),
          layer.numExperts(),
          layer.routing(),
          tokensPerGroup(),
          budget.candidates(layer));
    }

    private PruningReport.Layer choose(MoeLayerView layer, LayerCalibration seen) {
      checkInterrupt();
      if (needsForward() && seen.tokens() != sequences.tokens()) {
        throw new IllegalStateException(
            String.format(
                "The model showed layer %d %d of the %d calibration tokens; its forward must show"
                    + " every MoE layer the input of every token",
                layer.layerIndex(), seen.tokens(), sequences.tokens()));
      }
      Stopwatch time = watch(layer);
      time.start();
      PruningMethod.Choice choice = method.choose(seen, retained, seed, executor);
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
          layer.layerIndex(),
          choice.retained(),
          seen.others(choice.retained()),
          loss,
          relative,
          choice.exact(),
          choice.losses(),
          truncated,
          time.elapsed());
    }

    private boolean needsForward() {
      return withOutputs || method.needsCalibration();
    }

    private int lastLayer() {
      List<? extends MoeLayerView> layers = model.moeLayers();
      return layers.get(layers.size() - 1).layerIndex();
    }

    private List<TokenSequences> batches() {
      int size = Math.max(1, batchTokens / sequences.length());
      List<TokenSequences> batches = new ArrayList<>();
      for (int from = 0; from < sequences.count(); from += size) {
        batches.add(sequences.slice(from, Math.min(sequences.count(), from + size)));
      }
      return batches;
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
    private int batchTokens = 2048;
    private long seed;
    private @Nullable Progress progress;
    private Executor executor = Runnable::run;
    private int candidates;
    private long calibrationMemory = Long.MAX_VALUE;

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

    /** Sets about how many tokens run through the model at a time; without it, 2048. */
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
     * Sets what the search of a layer with many subsets spreads its work over; without it, the
     * calling thread alone. The result is the same.
     */
    public Builder optExecutor(Executor newExecutor) {
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

    /** Builds the pruner. */
    public ExpertPruner build() {
      return new ExpertPruner(this);
    }
  }
}
