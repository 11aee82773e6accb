package io.winnow.core.internal.form;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.List;

/**
 * The frequencies of a rotary embedding, by {@code rope_parameters} or the older {@code rope_theta}
 * and {@code rope_scaling}.
 *
 * <p>Known are {@code default}, {@code linear}, {@code dynamic} (which changes nothing within the
 * model's positions), {@code llama3}, {@code yarn} (arXiv 2309.00071) and, up to the length it was
 * trained on, {@code longrope} (arXiv 2402.13753).
 *
 * @param inverseFrequencies angles per position
 * @param factor of sines and cosines
 * @param scaleFactor of the attention's scores
 * @param maxPositions longest sequence
 */
record Rotary(float[] inverseFrequencies, double factor, double scaleFactor, int maxPositions) {

  /**
   * Reads it.
   *
   * @param entry the entry of {@code rope_parameters} whose fields come first; empty for none
   * @param headSize elements of a head
   * @param defaultPart what part of it is rotated where config.json does not say
   * @param defaultTheta the base where config.json does not say
   * @param maxPositions longest sequence
   */
  static Rotary read(
      CheckpointConfig json,
      String entry,
      int headSize,
      double defaultPart,
      double defaultTheta,
      int maxPositions) {
    Fields fields = new Fields(json, entry);
    double part = fields.number(defaultPart, "partial_rotary_factor", "partial_rotary_factor");
    int size = (int) (headSize * part);
    if (size < 2 || size % 2 != 0 || size > headSize) {
      throw new InvalidInputException(
          "Of a head's "
              + headSize
              + " elements, "
              + size
              + " are rotated; rotary embedding needs an even number");
    }
    double theta = fields.number(defaultTheta, "rope_theta", "rope_theta");
    if (theta <= 0) {
      throw new InvalidInputException(
          "rope_theta is " + theta + " in config.json; it must be positive");
    }
    double[] frequencies = new double[size / 2];
    for (int i = 0; i < frequencies.length; i++) {
      frequencies[i] = Math.pow(theta, -2.0 * i / size);
    }
    Scaling scaling = new Scaling(fields, theta, size, maxPositions);
    String type = json.string(fields.names("rope_type", "rope_scaling.type")).orElse("default");
    return switch (type) {
      case "default", "dynamic" -> scaling.unchanged(frequencies);
      case "linear" -> scaling.linear(frequencies);
      case "llama3" -> scaling.llama3(frequencies);
      case "yarn" -> scaling.yarn(frequencies);
      case "longrope", "su" -> scaling.longRope(frequencies);
      default ->
          throw new InvalidInputException(
              "The rotary embedding is scaled by '"
                  + type
                  + "' (rope_parameters or rope_scaling in config.json); supported are default,"
                  + " linear, dynamic, llama3, yarn and longrope");
    };
  }

  /** Where the numbers stand in config.json. */
  private record Fields(CheckpointConfig json, String entry) {
    /** Returns the paths of a field, and behind them others. */
    private String[] names(String field, String... others) {
      List<String> names = new ArrayList<>();
      if (!entry.isEmpty()) {
        names.add("rope_parameters." + entry + "." + field);
      }
      names.add("rope_parameters." + field);
      names.add("rope_scaling." + field);
      Collections.addAll(names, others);
      return names.toArray(String[]::new);
    }

    private double number(double fallback, String field, String... others) {
      return json.doubleOr(fallback, names(field, others));
    }
  }

  /** The formulas. */
  private record Scaling(Fields fields, double theta, int size, int maxPositions) {
    private double number(double fallback, String field, String... others) {
      return fields.number(fallback, field, others);
    }

    private double required(String field) {
      double value = number(Double.NaN, field);
      if (!(value > 0)) {
        throw new InvalidInputException(
            "The rotary embedding's scaling needs a positive '"
                + field
                + "' in config.json's rope_parameters or rope_scaling, and finds "
                + (Double.isNaN(value) ? "none" : value));
      }
      return value;
    }

    private double originalPositions() {
      String field = "original_max_position_embeddings";
      return number(maxPositions, field, field);
    }

    private Rotary of(double[] frequencies, double factor, double scaleFactor, int positions) {
      float[] rounded = new float[frequencies.length];
      for (int i = 0; i < rounded.length; i++) {
        rounded[i] = (float) frequencies[i];
      }
      return new Rotary(rounded, factor, scaleFactor, positions);
    }

    Rotary unchanged(double[] frequencies) {
      return of(frequencies, 1, 1, maxPositions);
    }

    Rotary linear(double[] frequencies) {
      double factor = required("factor");
      return unchanged(Arrays.stream(frequencies).map(value -> value / factor).toArray());
    }

    Rotary llama3(double[] frequencies) {
      double factor = required("factor");
      double low = required("low_freq_factor");
      double high = required("high_freq_factor");
      double original = originalPositions();
      return unchanged(
          Arrays.stream(frequencies)
              .map(
                  value -> {
                    double turns = original * value / (2 * Math.PI);
                    if (turns > high) {
                      return value;
                    }
                    if (turns < low) {
                      return value / factor;
                    }
                    double smooth = (turns - low) / (high - low);
                    return (1 - smooth) * value / factor + smooth * value;
                  })
              .toArray());
    }

    Rotary yarn(double[] frequencies) {
      double original = originalPositions();
      double factor = number(maxPositions / original, "factor");
      double scale = number(0, "mscale");
      double scaleAll = number(0, "mscale_all_dim");
      double attention =
          scale != 0 && scaleAll != 0
              ? growth(factor, scale) / growth(factor, scaleAll)
              : growth(factor, 1);
      double from = correction(number(32, "beta_fast"), original);
      double to = correction(number(1, "beta_slow"), original);
      if (fields.json().booleanOr(true, fields.names("truncate"))) {
        from = Math.floor(from);
        to = Math.ceil(to);
      }
      from = Math.max(from, 0);
      to = Math.min(to, size - 1);
      if (from == to) {
        to += 0.001;
      }
      double[] scaled = new double[frequencies.length];
      for (int i = 0; i < scaled.length; i++) {
        double ramp = Math.min(1, Math.max(0, (i - from) / (to - from)));
        scaled[i] = frequencies[i] / factor * ramp + frequencies[i] * (1 - ramp);
      }
      double scores = scaleAll == 0 ? 1 : growth(factor, scaleAll);
      return of(scaled, number(attention, "attention_factor"), scores * scores, maxPositions);
    }

    private double correction(double turns, double original) {
      return size * Math.log(original / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
    }

    private static double growth(double factor, double scale) {
      return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
    }

    Rotary longRope(double[] frequencies) {
      double original = originalPositions();
      List<Double> factors = fields.json().doubles(fields.names("short_factor")).orElse(List.of());
      if (factors.size() != frequencies.length) {
        throw new InvalidInputException(
            "The rotary embedding's scaling by 'longrope' needs "
                + frequencies.length
                + " numbers 'short_factor' in config.json, and finds "
                + factors.size());
      }
      double[] scaled = new double[frequencies.length];
      for (int i = 0; i < scaled.length; i++) {
        scaled[i] = frequencies[i] / factors.get(i);
      }
      double factor = number(maxPositions / original, "factor");
      double attention = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
      attention = number(attention, "short_mscale", fields.names("attention_factor"));
      return of(scaled, attention, 1, (int) Math.min(maxPositions, original));
    }
  }
}
