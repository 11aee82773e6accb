package io.winnow.core.routing;

import io.winnow.core.Routing;
import io.winnow.core.RoutingDecision;
import io.winnow.core.Weighting;
import io.winnow.core.Weighting.Divisor;
import io.winnow.core.Weighting.Mass;
import java.util.Arrays;
import java.util.Optional;

/**
 * The k highest logits, whose sigmoid multiplies the experts' inputs instead of their outputs
 * (Llama 4): every weight is 1. Immutable and thread-safe.
 */
public final class InputScalingRouting implements Routing {
  private final SoftmaxRouting selection;

  private InputScalingRouting(int topK) {
    selection = SoftmaxRouting.of(topK, true);
  }

  /** Creates a routing to so many experts per token. */
  public static InputScalingRouting of(int topK) {
    return new InputScalingRouting(topK);
  }

  @Override
  public int topK() {
    return selection.topK();
  }

  @Override
  public boolean scalesInputs() {
    return true;
  }

  /** All weights are 1, whatever an expert contributes. */
  @Override
  public boolean hasComparableWeights() {
    return false;
  }

  @Override
  public boolean isRenormalized() {
    return false;
  }

  @Override
  public Routing retain(int... retained) {
    selection.retain(retained);
    return this;
  }

  @Override
  public double[] selectionScores(float[] logits, int numExperts) {
    return selection.selectionScores(logits, numExperts);
  }

  @Override
  public Optional<Weighting> weighting() {
    return Optional.of(Weighting.of(Mass.ONE, Divisor.NONE));
  }

  @Override
  public RoutingDecision route(float[] logits, int numExperts) {
    RoutingDecision selected = selection.route(logits, numExperts);
    float[] weights = new float[selected.tokens() * topK()];
    Arrays.fill(weights, 1);
    return RoutingDecision.of(topK(), selected.experts(), weights);
  }

  /** Returns the sigmoids, which multiply the experts' inputs. */
  @Override
  public float[] scores(float[] logits, int numExperts) {
    float[] scores = new float[logits.length];
    for (int i = 0; i < scores.length; i++) {
      scores[i] = (float) (1 / (1 + Math.exp(-(double) logits[i])));
    }
    return scores;
  }

  @Override
  public String toString() {
    return "sigmoid of the input, top-" + topK();
  }
}
