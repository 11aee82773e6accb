package io.winnow.examples.report.result;

import io.winnow.skipping.BetaSkipPolicy;
import io.winnow.skipping.SkipStatistics;
import java.util.LinkedHashMap;
import java.util.Map;

/**
 * What a skip policy skips.
 *
 * @param name what charts call the calibration of the policy
 * @param policy the thresholds
 * @param statistics what it skips on each text, by the texts' names; in order
 */
public record SkipRates(
    String name, BetaSkipPolicy policy, Map<String, SkipStatistics> statistics) {
  /** Copies the map. */
  public SkipRates {
    statistics = new LinkedHashMap<>(statistics);
  }
}
