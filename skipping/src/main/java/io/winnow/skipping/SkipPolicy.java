package io.winnow.skipping;

import ai.djl.Model;
import io.winnow.core.InvalidInputException;
import io.winnow.core.MoeModel;
import io.winnow.core.RouterHook;
import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.calibration.Calibration;
import java.nio.file.Path;

/**
 * Says which of the experts that a token selected are evaluated (NAEE, arXiv 2402.14800, section
 * 3.3). A token never loses its first expert.
 *
 * <p>A host calls {@link #apply} inside its own inference loop; a model with router hooks follows
 * {@link #asHook}. Implementations are immutable and thread-safe.
 */
public interface SkipPolicy {
  /**
   * Returns what remains of one layer's routing.
   *
   * @param layer the number of the decoder layer
   * @param routing the layer's routing, which tells whether kept weights are renormalised
   * @param decision experts and weights {@code [tokens, topK]}, a token's in descending order
   * @return the same tokens and ranks, with {@link RoutingDecision#NONE} and weight 0 where an
   *     expert is skipped; {@code decision} itself if none is
   */
  RoutingDecision apply(int layer, Routing routing, RoutingDecision decision);

  /**
   * Checks that the policy means something for a model.
   *
   * @throws InvalidInputException if it does not
   */
  default void checkFits(MoeModel model) {}

  /** Returns the policy that applies this one and then another. */
  default SkipPolicy andThen(SkipPolicy next) {
    return new SequentialPolicy(this, next);
  }

  /** Returns a hook that follows this policy. */
  default RouterHook asHook() {
    return (layer, logits, decision) -> apply(layer.layerIndex(), layer.routing(), decision);
  }

  /** Returns a hook that follows this policy and reports what it skipped. */
  default RouterHook asHook(SkipListener listener) {
    return (layer, logits, decision) -> {
      RoutingDecision remaining = apply(layer.layerIndex(), layer.routing(), decision);
      long selected = Skips.selected(decision);
      listener.onSkip(
          layer.layerIndex(),
          Skips.routed(decision),
          selected,
          selected - Skips.selected(remaining));
      return remaining;
    };
  }

  /** Returns the policy that skips nothing. */
  static SkipPolicy none() {
    return (layer, routing, decision) -> decision;
  }

  /**
   * Returns the policy that keeps a token's first experts only.
   *
   * @param topK how many, at least 1
   */
  static SkipPolicy topK(int topK) {
    return new FixedPolicy(topK);
  }

  /**
   * Chooses a policy by running a model on a calibration. With two experts per token, a token's
   * second expert is skipped when its weight is less than beta times the first's, beta being the
   * median of that ratio over the calibration's tokens, layer by layer. With more experts per
   * token, it is the policy of {@link #calibrate(Model, Calibration, double)} with a rate of one
   * half.
   *
   * @param model after pruning, if it is pruned
   * @throws InvalidInputException if the model selects one expert per token, or its weights cannot
   *     be compared, or the calibration does not fit it
   */
  static BetaSkipPolicy calibrate(Model model, Calibration calibration) {
    return calibrate(MoeModel.of(model), calibration, 0.5);
  }

  /**
   * Chooses a policy by which a share of the experts that could be skipped, k - 1 per token, is
   * skipped on the calibration's tokens, layer by layer. With two experts per token by the ratio
   * rule, with more by the mass rule ({@link BetaSkipPolicy.Rule}).
   *
   * @param rate from 0 to 1
   */
  static BetaSkipPolicy calibrate(Model model, Calibration calibration, double rate) {
    return calibrate(MoeModel.of(model), calibration, rate);
  }

  /** Chooses like {@link #calibrate(Model, Calibration, double)} for a model of the host's own. */
  static BetaSkipPolicy calibrate(MoeModel model, Calibration calibration, double rate) {
    return new SkipThresholds(model, calibration, rate).policy();
  }

  /**
   * Reads a policy that {@link BetaSkipPolicy#write} wrote.
   *
   * @throws InvalidInputException if the file holds none, such as one of another kind
   */
  static BetaSkipPolicy read(Path file) {
    return BetaSkipPolicy.read(file);
  }
}
