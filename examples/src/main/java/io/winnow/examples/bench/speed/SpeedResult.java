package io.winnow.examples.bench.speed;

import com.google.gson.JsonObject;
import io.winnow.examples.bench.measure.Timing;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import org.jspecify.annotations.Nullable;

/**
 * Seconds of the same work by winnow and by others, round by round, and those of the floors.
 *
 * @param tokens of a round
 * @param ours one for each round
 * @param others of each other implementation, as many
 * @param floor of one pass by winnow's engine; null where it is not known
 * @param othersProducts seconds of the same matrix products alone by the others' engine, if any
 * @param passes of a round, each of which has the floor
 */
record SpeedResult(
    long tokens,
    List<Double> ours,
    Map<String, List<Double>> others,
    SpeedFloor.@Nullable Seconds floor,
    @Nullable Double othersProducts,
    int passes) {

  /** How many times faster than the best other winnow was, round by round. */
  List<Double> speedUps() {
    List<Double> speedUps = new ArrayList<>();
    for (int i = 0; i < ours.size(); i++) {
      double best = Double.MAX_VALUE;
      for (List<Double> other : others.values()) {
        best = Math.min(best, other.get(i));
      }
      speedUps.add(best / ours.get(i));
    }
    return speedUps;
  }

  String table() {
    StringBuilder table =
        new StringBuilder(
            String.format("%-34s  %10s  %10s  %s%n", "", "seconds", "tokens/s", "winnow"));
    row(table, "winnow", Timing.median(ours), "");
    others.forEach(
        (name, seconds) ->
            row(
                table,
                name,
                Timing.median(seconds),
                String.format(
                    Locale.ROOT, "%.2f times", Timing.median(seconds) / Timing.median(ours))));
    if (floor == null) {
      table.append(
          String.format("The floor of models with joint tensors of experts is not known%n"));
    } else {
      floorRow(table, "matrix products alone", floor.products());
      if (othersProducts != null) {
        floorRow(table, "the same by the other's engine", othersProducts);
      }
      floorRow(table, "reading their weights alone", floor.reading());
      table.append(
          String.format(
              Locale.ROOT,
              "weights of a pass %.1f MB, read at %.1f GB/s%n",
              floor.activeBytes() / 1e6,
              floor.bytesPerSecond() / 1e9));
    }
    if (!others.isEmpty()) {
      table.append(
          String.format(
              Locale.ROOT,
              "the best other's time of each round by winnow's: %s%n",
              Timing.spread(speedUps())));
    }
    return table.toString();
  }

  private void floorRow(StringBuilder table, String name, double secondsOfAPass) {
    String share = String.format(Locale.ROOT, "%.0f %% of it", 100 * share(secondsOfAPass));
    row(table, name, passes * secondsOfAPass, share);
  }

  private double share(double secondsOfAPass) {
    return passes * secondsOfAPass / Timing.median(ours);
  }

  private void row(StringBuilder table, String name, double seconds, String remark) {
    table.append(
        String.format(
                Locale.ROOT, "%-34s  %10.4f  %10.1f  %s", name, seconds, tokens / seconds, remark)
            .stripTrailing());
    table.append(System.lineSeparator());
  }

  JsonObject toJson() {
    JsonObject json = new JsonObject();
    json.addProperty("tokens", tokens);
    json.add("seconds", Timing.array(ours));
    JsonObject baselines = new JsonObject();
    others.forEach((name, seconds) -> baselines.add(name, Timing.array(seconds)));
    json.add("baseline_seconds", baselines);
    json.addProperty("ratio", others.isEmpty() ? null : Timing.median(speedUps()));
    json.addProperty("passes", passes);
    if (floor != null) {
      json.addProperty("matrix_products_seconds_per_pass", floor.products());
      json.addProperty("baseline_matrix_products_seconds_per_pass", othersProducts);
      json.addProperty("matrix_products_share", share(floor.products()));
      json.addProperty("bytes_per_pass", floor.activeBytes());
      json.addProperty("bytes_per_second", floor.bytesPerSecond());
      json.addProperty("reading_share", share(floor.reading()));
    }
    return json;
  }
}
