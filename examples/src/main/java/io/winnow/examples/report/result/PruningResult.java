package io.winnow.examples.report.result;

import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import com.google.gson.JsonParseException;
import io.winnow.core.InvalidInputException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalDouble;
import org.jspecify.annotations.Nullable;

/**
 * What a search for the experts to keep found.
 *
 * @param name what charts call it: a calibration, or a file
 * @param method the pruning method's name
 * @param calibration the calibration tokens' digest; null if none were used
 * @param seed the seed of everything random
 * @param retained r
 * @param layers one entry per MoE layer
 */
public record PruningResult(
    String name,
    String method,
    @Nullable String calibration,
    long seed,
    int retained,
    List<Layer> layers) {

  /** Copies the list. */
  public PruningResult {
    layers = List.copyOf(layers);
  }

  /**
   * One layer.
   *
   * @param layer the number of the decoder layer
   * @param kept the experts that stay, ascending
   * @param dropped the others
   * @param loss the loss of dropping them; empty if not measured
   * @param norm what losses are to be divided by, the norm of the layer's output; empty if unknown
   * @param losses the losses of all subsets, ascending; empty if not all were looked at
   */
  public record Layer(
      int layer,
      List<Integer> kept,
      List<Integer> dropped,
      OptionalDouble loss,
      OptionalDouble norm,
      List<Double> losses) {

    /** Copies the lists. */
    public Layer {
      kept = List.copyOf(kept);
      dropped = List.copyOf(dropped);
      losses = List.copyOf(losses);
    }

    /** Returns n, the experts before pruning. */
    public int numExperts() {
      return kept.size() + dropped.size();
    }

    /** Returns the loss in percent of the norm; 0 if it is 0, whatever the norm. */
    public OptionalDouble percent() {
      if (loss.isEmpty() || (loss.getAsDouble() != 0 && norm.isEmpty())) {
        return OptionalDouble.empty();
      }
      return OptionalDouble.of(loss.getAsDouble() == 0 ? 0 : percent(loss.getAsDouble()));
    }

    /** Returns a loss in percent of the norm, which must be known. */
    public double percent(double value) {
      return 100 * value / norm.orElseThrow();
    }
  }

  /** Returns the name, and the method if it is not NAEE's. */
  public String title() {
    return method.equals("reconstruction") ? name : name + ", " + method;
  }

  /**
   * Reads what {@code winnow prune --report} wrote.
   *
   * @throws InvalidInputException if the file is no pruning report
   */
  public static PruningResult read(Path file) {
    return ReportFiles.read(
        file,
        "a pruning report",
        "'winnow prune --report'",
        json -> {
          List<Layer> layers = new ArrayList<>();
          int retained = ReportFiles.whole(json, "retained_per_layer");
          for (JsonElement element : ReportFiles.array(json, "layers")) {
            layers.add(layer(element.getAsJsonObject()));
          }
          return new PruningResult(
              ReportFiles.label(file),
              ReportFiles.member(json, "method").getAsString(),
              ReportFiles.text(json, "calibration"),
              ReportFiles.member(json, "seed").getAsLong(),
              retained,
              layers);
        });
  }

  private static Layer layer(JsonObject json) {
    int number = ReportFiles.whole(json, "layer");
    List<Integer> kept = ReportFiles.numbers(json, "kept");
    List<Integer> dropped = ReportFiles.numbers(json, "dropped");
    ReportFiles.requireAll(kept, dropped, number);
    OptionalDouble loss = optional(json, "loss");
    OptionalDouble relative = optional(json, "relative_loss");
    boolean scaled = loss.orElse(0) > 0 && relative.orElse(0) > 0;
    List<Double> losses = new ArrayList<>();
    if (json.has("losses")) {
      for (JsonElement one : ReportFiles.object(json, "losses").asMap().values()) {
        losses.add(loss(one));
      }
      losses.sort(null);
    }
    return new Layer(
        number,
        kept,
        dropped,
        loss,
        scaled
            ? OptionalDouble.of(loss.getAsDouble() / relative.getAsDouble())
            : OptionalDouble.empty(),
        losses);
  }

  private static OptionalDouble optional(JsonObject json, String name) {
    JsonElement element = ReportFiles.member(json, name);
    return element.isJsonNull() ? OptionalDouble.empty() : OptionalDouble.of(loss(element));
  }

  private static double loss(JsonElement element) {
    double loss = ReportFiles.number(element, "a loss");
    if (loss < 0) {
      throw new JsonParseException("a loss is negative, " + loss);
    }
    return loss;
  }
}
