package io.winnow.core.train;

import ai.djl.ndarray.NDArray;
import ai.djl.ndarray.NDList;
import ai.djl.ndarray.NDManager;
import ai.djl.nn.Parameter;
import ai.djl.training.optimizer.Optimizer;
import ai.djl.training.tracker.Tracker;
import java.util.Collection;
import java.util.HashMap;
import java.util.Map;
import java.util.Objects;

/**
 * AdamW (arXiv 1711.05101), computed by DJL. DJL's own optimizer keeps its averages from everyone:
 * they cannot be written, read or closed. Vectors, which are norms and biases, do not decay.
 */
final class OwnedAdamW extends Optimizer {
  private static final float BETA1 = 0.9f;
  private static final float BETA2 = 0.999f;
  private static final float EPSILON = 1e-8f;

  private final Tracker learningRate;
  private final float weightDecay;
  private final Map<String, Averages> averages = new HashMap<>();
  private int step;
  private float scale = 1;

  /**
   * Creates an optimizer of some parameters.
   *
   * @param manager owns what it remembers: as much again as the parameters, twice
   */
  OwnedAdamW(
      NDManager manager,
      Collection<Parameter> parameters,
      Tracker learningRate,
      double weightDecay) {
    super(new Unused());
    this.learningRate = learningRate;
    this.weightDecay = (float) weightDecay;
    for (Parameter parameter : parameters) {
      NDArray like = parameter.getArray();
      averages.put(
          parameter.getId(),
          new Averages(manager.zeros(like.getShape()), manager.zeros(like.getShape())));
    }
  }

  /** What is remembered of a parameter's gradients: averages of them, and of their squares. */
  record Averages(NDArray mean, NDArray variance) {}

  /** DJL's options of an optimizer, of which none are used. */
  private static final class Unused extends OptimizerBuilder<Unused> {
    @Override
    protected Unused self() {
      return this;
    }
  }

  Averages averages(Parameter parameter) {
    return Objects.requireNonNull(averages.get(parameter.getId()));
  }

  /**
   * Says which step the coming updates are of.
   *
   * @param newStep from 1
   * @param newScale what to multiply the gradients by
   */
  void begin(int newStep, double newScale) {
    step = newStep;
    scale = (float) newScale;
  }

  @Override
  public void update(String parameterId, NDArray weight, NDArray gradient) {
    Averages remembered = Objects.requireNonNull(averages.get(parameterId));
    float rate = learningRate.getNewValue(step);
    double correction = Math.sqrt(1 - Math.pow(BETA2, step)) / (1 - Math.pow(BETA1, step));
    weight
        .getNDArrayInternal()
        .adamUpdate(
            new NDList(weight, gradient, remembered.mean(), remembered.variance()),
            new NDList(weight),
            rate,
            (float) (rate * correction),
            weight.getShape().dimension() > 1 ? weightDecay : 0,
            scale,
            -1,
            BETA1,
            BETA2,
            EPSILON,
            true,
            true);
  }
}
