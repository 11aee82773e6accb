package io.winnow.skipping;

import com.google.common.primitives.ImmutableDoubleArray;
import com.google.common.primitives.ImmutableIntArray;
import com.google.gson.JsonArray;
import com.google.gson.JsonElement;
import com.google.gson.JsonObject;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeLayerView;
import io.winnow.core.MoeModel;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.internal.file.FileKind;
import io.winnow.core.internal.file.JsonFiles;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import org.jspecify.annotations.Nullable;

/**
 * Skips experts whose weight is small beside the token's others, by one threshold beta per MoE
 * layer (NAEE, arXiv 2402.14800, section 3.3 and A.2). Immutable and thread-safe.
 */
public final class BetaSkipPolicy implements SkipPolicy {
  private static final int VERSION = 1;

  private final Rule rule;
  private final ImmutableIntArray layers;
  private final ImmutableDoubleArray betas;
  private final @Nullable String model;
  private final @Nullable String calibration;

  /** How weights in descending order w1, w2, ... are judged. */
  public enum Rule {
    /** With two experts per token: the second is skipped when w2 &lt; beta w1. */
    RATIO,
    /**
     * The first i experts are kept, i being the least with w(i+1) + ... &lt;= beta (w1 + w2 + ...).
     */
    MASS
  }

  private BetaSkipPolicy(
      Rule rule,
      ImmutableIntArray layers,
      ImmutableDoubleArray betas,
      @Nullable String model,
      @Nullable String calibration) {
    this.rule = rule;
    this.layers = layers;
    this.betas = betas;
    this.model = model;
    this.calibration = calibration;
  }

  /**
   * Creates a policy.
   *
   * @param layers the numbers of the decoder layers that are MoE layers, ascending
   * @param betas one threshold for each, from 0 to 1
   * @throws InvalidInputException if there are not as many thresholds as layers, or one is out of
   *     range
   */
  public static BetaSkipPolicy of(Rule rule, List<Integer> layers, List<Double> betas) {
    return of(rule, layers, betas, null, null);
  }

  static BetaSkipPolicy of(
      Rule rule,
      List<Integer> layers,
      List<Double> betas,
      @Nullable String model,
      @Nullable String calibration) {
    if (layers.size() != betas.size() || layers.isEmpty()) {
      throw new InvalidInputException(
          betas.size() + " betas do not fit " + layers.size() + " layers; give one for each");
    }
    for (double beta : betas) {
      if (!(beta >= 0 && beta <= 1)) {
        throw new InvalidInputException("A beta must be from 0 to 1, is " + beta);
      }
    }
    for (int i = 0; i < layers.size(); i++) {
      if (layers.get(i) < (i == 0 ? 0 : layers.get(i - 1) + 1)) {
        throw new InvalidInputException("The layers must ascend from 0, are " + layers);
      }
    }
    return new BetaSkipPolicy(
        rule,
        ImmutableIntArray.copyOf(layers),
        ImmutableDoubleArray.copyOf(betas),
        model,
        calibration);
  }

  /** Returns the rule. */
  public Rule rule() {
    return rule;
  }

  /** Returns the thresholds, one per MoE layer in order. */
  public List<Double> betas() {
    return betas.asList();
  }

  @Override
  public RoutingDecision apply(int layer, Routing routing, RoutingDecision decision) {
    int place = layers.indexOf(layer);
    if (place < 0) {
      throw new InvalidInputException(
          "The skip policy has no beta for layer " + layer + ", only for " + layers);
    }
    double beta = betas.get(place);
    return Skips.keep(
        routing,
        decision,
        (token, available) ->
            rule == Rule.RATIO
                ? byRatio(decision, token, beta)
                : byMass(decision, token, available, beta));
  }

  private static int byRatio(RoutingDecision decision, int token, double beta) {
    return decision.topK() > 1 && decision.weight(token, 1) < beta * decision.weight(token, 0)
        ? 1
        : 2;
  }

  private static int byMass(RoutingDecision decision, int token, int available, double beta) {
    double all = 0;
    for (int rank = 0; rank < available; rank++) {
      all += decision.weight(token, rank);
    }
    double tail = 0;
    int kept = available;
    while (kept > 1 && tail + decision.weight(token, kept - 1) <= beta * all) {
      kept--;
      tail += decision.weight(token, kept);
    }
    return kept;
  }

  /**
   * Checks that the model has the layers of this policy, and weights that can be compared.
   *
   * @throws InvalidInputException if it does not
   */
  @Override
  public void checkFits(MoeModel moe) {
    List<Integer> indexes = moe.moeLayers().stream().map(MoeLayerView::layerIndex).toList();
    if (!indexes.equals(layers.asList())) {
      throw new InvalidInputException(
          "The skip policy is for the MoE layers "
              + layers
              + ", the model's are "
              + indexes
              + "; calibrate it on this model");
    }
    for (MoeLayerView layer : moe.moeLayers()) {
      checkRouting(rule, layer);
    }
  }

  static void checkRouting(Rule rule, MoeLayerView layer) {
    Routing routing = layer.routing();
    if (!routing.hasComparableWeights()) {
      throw new InvalidInputException(
          "The weights of a token's experts in layer "
              + layer.layerIndex()
              + " have a scale each ("
              + routing
              + "), so that comparing them says nothing; this model cannot skip by weight");
    }
    if (rule == Rule.RATIO && routing.topK() != 2) {
      throw new InvalidInputException(
          "The ratio rule is for two experts per token; layer "
              + layer.layerIndex()
              + " selects "
              + routing.topK()
              + ". Use the mass rule");
    }
  }

  /** Returns the policy as the text of a JSON object, which {@link #write} puts into a file. */
  public String toJson() {
    return json().toString();
  }

  private JsonObject json() {
    JsonObject json = FileKind.SKIP_POLICY.newJson();
    json.addProperty("version", VERSION);
    json.addProperty("rule", rule.name().toLowerCase(Locale.ROOT));
    JsonArray layerArray = new JsonArray();
    layers.forEach(layerArray::add);
    json.add("layers", layerArray);
    JsonArray betaArray = new JsonArray();
    betas.forEach(betaArray::add);
    json.add("betas", betaArray);
    json.addProperty("model", model);
    json.addProperty("calibration", calibration);
    return json;
  }

  /**
   * Writes the policy as a JSON file, replacing one that is there.
   *
   * @throws IOException if the file cannot be written; one that was there is unchanged
   */
  public void write(Path file) throws IOException {
    JsonFiles.write(file, json());
  }

  static BetaSkipPolicy read(Path file) {
    JsonObject json = FileKind.SKIP_POLICY.read(file);
    try {
      if (!json.has("version") || json.get("version").getAsInt() != VERSION) {
        throw new InvalidInputException(
            file
                + " is no skip policy of version "
                + VERSION
                + "; make one with SkipPolicy.calibrate");
      }
      return of(
          Rule.valueOf(json.get("rule").getAsString().toUpperCase(Locale.ROOT)),
          json.getAsJsonArray("layers").asList().stream().map(JsonElement::getAsInt).toList(),
          json.getAsJsonArray("betas").asList().stream().map(JsonElement::getAsDouble).toList(),
          text(json, "model"),
          text(json, "calibration"));
    } catch (InvalidInputException e) {
      throw e;
    } catch (IllegalStateException
        | IllegalArgumentException
        | NullPointerException
        | ClassCastException
        | UnsupportedOperationException e) {
      throw new InvalidInputException(
          file + " is no skip policy: " + e.getMessage() + "; make one with SkipPolicy.calibrate",
          e);
    }
  }

  private static @Nullable String text(JsonObject json, String name) {
    JsonElement element = json.get(name);
    return element == null || element.isJsonNull() ? null : element.getAsString();
  }

  @Override
  public boolean equals(@Nullable Object other) {
    return other instanceof BetaSkipPolicy that && json().equals(that.json());
  }

  @Override
  public int hashCode() {
    return Objects.hash(rule, layers, betas);
  }

  @Override
  public String toString() {
    return rule + " with betas " + betas;
  }
}
