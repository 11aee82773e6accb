package io.winnow.core.train;

import com.google.gson.Gson;
import com.google.gson.GsonBuilder;
import com.google.gson.JsonParseException;
import io.winnow.core.InvalidInputException;
import java.util.ArrayList;
import java.util.List;

/**
 * How far a training has come.
 *
 * @param step the steps taken
 * @param summed how many of them since the last measurement
 * @param sum their losses together
 * @param bestStep the step of the best measurement
 * @param bestLoss its loss, infinite before the first
 * @param history the measurements, in order
 */
record TrainingProgress(
    int step,
    int summed,
    double sum,
    int bestStep,
    double bestLoss,
    List<FineTuning.Measurement> history) {
  private static final Gson GSON = new GsonBuilder().serializeSpecialFloatingPointValues().create();

  TrainingProgress {
    history = List.copyOf(history);
  }

  static TrainingProgress atStart() {
    return new TrainingProgress(0, 0, 0, 0, Double.POSITIVE_INFINITY, List.of());
  }

  double lastLoss() {
    return history.get(history.size() - 1).validationLoss();
  }

  TrainingProgress withStep(double loss) {
    return new TrainingProgress(step + 1, summed + 1, sum + loss, bestStep, bestLoss, history);
  }

  TrainingProgress withMeasurement(double validationLoss) {
    List<FineTuning.Measurement> longer = new ArrayList<>(history);
    longer.add(
        new FineTuning.Measurement(step, summed == 0 ? Double.NaN : sum / summed, validationLoss));
    boolean better = validationLoss < bestLoss;
    return new TrainingProgress(
        step, 0, 0, better ? step : bestStep, better ? validationLoss : bestLoss, longer);
  }

  String toJson() {
    return GSON.toJson(this);
  }

  static TrainingProgress fromJson(String json) {
    try {
      TrainingProgress read = GSON.fromJson(json, TrainingProgress.class);
      if (read != null && !read.history().isEmpty()) {
        return read;
      }
      throw new JsonParseException("there is none");
    } catch (JsonParseException | NullPointerException e) {
      throw new InvalidInputException(
          "A checkpoint does not say how far the training had come ("
              + e.getMessage()
              + "); remove the checkpoints",
          e);
    }
  }
}
