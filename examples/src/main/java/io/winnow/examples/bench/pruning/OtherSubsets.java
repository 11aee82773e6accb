package io.winnow.examples.bench.pruning;

import static java.util.Objects.requireNonNull;

import io.winnow.pruning.LayerCalibration;
import io.winnow.pruning.PruningMethod;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/** Measures other methods, greedy elimination and random subsets; retains what it likes. */
final class OtherSubsets implements PruningMethod {
  private static final int RANDOM_SUBSETS = 5000;

  private final long seed;
  private final Map<String, Double> losses = new LinkedHashMap<>();
  private @Nullable LayerCalibration seen;

  OtherSubsets(long seed) {
    this.seed = seed;
  }

  @Override
  public String name() {
    return "other subsets";
  }

  @Override
  public boolean needsExpertOutputs() {
    return true;
  }

  /** Returns the losses of the methods' subsets by their names. */
  Map<String, Double> losses() {
    return losses;
  }

  double loss(List<Integer> retained) {
    return requireNonNull(seen).loss(retained);
  }

  /** Drops the expert that costs least, again and again. */
  private List<Integer> eliminate(int retained) {
    List<Integer> kept = IntStream.range(0, requireNonNull(seen).numExperts()).boxed().toList();
    while (kept.size() > retained) {
      List<Integer> best = List.of();
      double least = Double.POSITIVE_INFINITY;
      for (int place = 0; place < kept.size(); place++) {
        List<Integer> fewer = new ArrayList<>(kept);
        fewer.remove(place);
        double loss = loss(fewer);
        if (loss < least) {
          least = loss;
          best = fewer;
        }
      }
      kept = best;
    }
    return kept;
  }

  @Override
  public Choice choose(LayerCalibration calibration, int retained, long unused) {
    seen = calibration;
    for (PruningMethod method :
        List.of(
            PruningMethod.reap(),
            PruningMethod.leaveOneOut(),
            PruningMethod.frequency(),
            PruningMethod.softActivation())) {
      losses.put(method.name(), loss(method.choose(calibration, retained, seed).retained()));
    }
    losses.put("greedy elimination", loss(eliminate(retained)));
    Random lot = new Random(seed);
    List<Integer> order =
        new ArrayList<>(IntStream.range(0, calibration.numExperts()).boxed().toList());
    double best = Double.POSITIVE_INFINITY;
    for (int i = 0; i < RANDOM_SUBSETS; i++) {
      Collections.shuffle(order, lot);
      best = Math.min(best, loss(order.subList(0, retained).stream().sorted().toList()));
    }
    losses.put("best of " + RANDOM_SUBSETS + " random", best);
    return new Choice(order.subList(0, retained).stream().sorted().toList(), false, List.of());
  }
}
