package io.winnow.examples.cli;

import ai.djl.util.Progress;
import io.winnow.core.ForwardObserver;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.RouterHook;
import io.winnow.core.RoutingDecision;
import io.winnow.core.TokenSequences;
import io.winnow.core.calibration.Calibration;
import io.winnow.examples.console.ConsoleProgress;
import io.winnow.examples.report.result.ExpertPairs;
import io.winnow.examples.report.result.PruningResult;
import io.winnow.examples.report.result.SkipRates;
import io.winnow.pruning.ExpertPruner;
import io.winnow.pruning.LayerCalibration;
import io.winnow.pruning.PruningMethod;
import io.winnow.pruning.SubsetLoss;
import io.winnow.skipping.BetaSkipPolicy;
import io.winnow.skipping.SkipCounter;
import io.winnow.skipping.SkipPolicy;
import io.winnow.skipping.SkipStatistics;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.OptionalDouble;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.CancellationException;

/** Runs a model for what a report shows of it. The model stays as it is. */
final class ReportMeasurement {
  private static final int BATCH_TOKENS = 2048;

  /** Of a layer with many experts, a curve has so many points. */
  private static final int MOST_POINTS = 16;

  private final MoeModel model;

  ReportMeasurement(MoeModel model) {
    this.model = model;
  }

  /** Counts the pairs of experts that the tokens of a text select. */
  ExpertPairs pairs(String name, Calibration text) {
    ExpertPairs pairs = new ExpertPairs(name);
    forward("Routing " + name, text, pairs);
    return pairs;
  }

  /**
   * Calibrates a skip policy on one text, and counts what it skips on all.
   *
   * @throws InvalidInputException if experts of this model are not to be skipped
   */
  SkipRates skipRates(String name, Map<String, Calibration> texts) {
    Calibration calibration = texts.get(name);
    if (calibration == null) {
      throw new IllegalArgumentException("There is no text " + name);
    }
    BetaSkipPolicy policy = SkipPolicy.calibrate(model, calibration, 0.5);
    Map<String, SkipStatistics> statistics = new LinkedHashMap<>();
    texts.forEach(
        (other, text) -> {
          SkipCounter counter = new SkipCounter();
          RouterHook skipping = policy.asHook(counter);
          forward(
              "Skipping on " + other,
              text,
              new ForwardObserver() {
                @Override
                public RoutingDecision onRouting(
                    MoeLayerView layer, float[] logits, RoutingDecision decision) {
                  return skipping.onRouting(layer, logits, decision);
                }
              });
          statistics.put(other, counter.snapshot());
        });
    return new SkipRates(name, policy, statistics);
  }

  private void forward(String what, Calibration text, ForwardObserver observer) {
    TokenSequences sequences = text.sequences();
    int size = Math.max(1, BATCH_TOKENS / sequences.length());
    Progress progress = new ConsoleProgress();
    progress.reset(what, sequences.count());
    for (int from = 0; from < sequences.count(); from += size) {
      if (Thread.currentThread().isInterrupted()) {
        throw new CancellationException("The report was interrupted");
      }
      int to = Math.min(sequences.count(), from + size);
      model.forward(sequences.slice(from, to), observer);
      progress.increment(to - from);
    }
    progress.end();
  }

  /**
   * Searches the best subsets of every number of experts, in one pass over the text.
   *
   * @return by the number retained
   */
  Map<Integer, PruningResult> searches(String name, Calibration text, int retained, long seed) {
    EveryNumber method = new EveryNumber(retained);
    ExpertPruner.builder()
        .optMethod(method)
        .optSeed(seed)
        .optProgress(new ConsoleProgress())
        .build()
        .search(model, text, retained);
    Map<Integer, PruningResult> results = new TreeMap<>();
    method.layers.forEach(
        (r, layers) ->
            results.put(
                r,
                new PruningResult(
                    name, PruningMethod.reconstruction().name(), text.digest(), seed, r, layers)));
    return results;
  }

  /**
   * NAEE's search, which looks at all other numbers of experts too while it is at a layer. It
   * remembers what it finds, and serves one run.
   */
  private static final class EveryNumber implements PruningMethod {
    private final PruningMethod search = PruningMethod.reconstruction();
    private final int wanted;
    private final Map<Integer, List<PruningResult.Layer>> layers = new TreeMap<>();

    EveryNumber(int wanted) {
      this.wanted = wanted;
    }

    @Override
    public String name() {
      return search.name();
    }

    @Override
    public boolean needsExpertOutputs() {
      return true;
    }

    @Override
    public Choice choose(LayerCalibration layer, int retained, long seed) {
      Choice choice = search.choose(layer, retained, seed);
      add(layer, choice);
      for (int r : numbers(layer)) {
        add(layer, search.choose(layer, r, seed));
      }
      return choice;
    }

    /** Returns the other numbers of experts that the layer can have, evenly spaced. */
    private TreeSet<Integer> numbers(LayerCalibration layer) {
      int groups = layer.routing().groups();
      int most = layer.numExperts();
      int step = groups * (1 + (most - layer.routing().topK()) / groups / MOST_POINTS);
      TreeSet<Integer> numbers = new TreeSet<>();
      for (int r = most; r >= layer.routing().topK(); r -= step) {
        // Where groups must stay equally large, fewer than the wanted number may be impossible.
        if (r != wanted && (groups == 1 || r >= wanted)) {
          numbers.add(r);
        }
      }
      return numbers;
    }

    private void add(LayerCalibration layer, Choice choice) {
      double norm = layer.targetNorm();
      int r = choice.retained().size();
      List<Integer> dropped = new ArrayList<>();
      for (int expert = 0; expert < layer.numExperts(); expert++) {
        if (!choice.retained().contains(expert)) {
          dropped.add(expert);
        }
      }
      layers
          .computeIfAbsent(r, number -> new ArrayList<>())
          .add(
              new PruningResult.Layer(
                  layer.layerIndex(),
                  choice.retained(),
                  dropped,
                  OptionalDouble.of(layer.loss(choice.retained())),
                  norm > 0 ? OptionalDouble.of(norm) : OptionalDouble.empty(),
                  // All subsets of all numbers would be 2^n.
                  r == wanted && choice.exact()
                      ? choice.losses().stream().map(SubsetLoss::loss).toList()
                      : List.of()));
    }
  }
}
