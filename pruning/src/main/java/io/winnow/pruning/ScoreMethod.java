package io.winnow.pruning;

import java.util.Comparator;
import java.util.List;
import java.util.function.Function;
import java.util.stream.IntStream;

/** Keeps the experts with the highest score; of equal scores the lower index stays. */
final class ScoreMethod implements PruningMethod {
  private final String name;
  private final boolean needsExpertOutputs;
  private final Function<LayerCalibration, double[]> scores;

  ScoreMethod(
      String name, boolean needsExpertOutputs, Function<LayerCalibration, double[]> scores) {
    this.name = name;
    this.needsExpertOutputs = needsExpertOutputs;
    this.scores = scores;
  }

  @Override
  public String name() {
    return name;
  }

  @Override
  public boolean needsExpertOutputs() {
    return needsExpertOutputs;
  }

  @Override
  public Choice choose(LayerCalibration layer, int retained, long seed) {
    double[] score = scores.apply(layer);
    List<Integer> order =
        IntStream.range(0, layer.numExperts())
            .boxed()
            .sorted(Comparator.comparingDouble((Integer expert) -> -score[expert]))
            .toList();
    ExpertGroups groups = ExpertGroups.of(layer.routing(), layer.numExperts());
    return new Choice(groups.first(order, retained), true, List.of());
  }
}
