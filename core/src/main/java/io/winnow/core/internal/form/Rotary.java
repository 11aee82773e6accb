package io.winnow.core.internal.form;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import io.winnow.core.internal.form.RotaryConfig.Longer;
import java.util.Arrays;
import java.util.List;
import java.util.stream.IntStream;
import org.jspecify.annotations.Nullable;

/**
 * The frequencies of a rotary embedding, by {@link RotarySettings}.
 *
 * <p>Known are {@code default}, {@code linear}, {@code dynamic} (which changes nothing within the
 * model's positions), {@code proportional}, {@code llama3}, {@code yarn} (arXiv 2309.00071) and
 * {@code longrope} (arXiv 2402.13753).
 *
 * @param inverseFrequencies angles per position
 * @param factor of sines and cosines
 * @param scaleFactor of the scores of latent attention
 * @param maxPositions longest sequence
 * @param longer how longer sequences than those trained at first are rotated, or null
 */
record Rotary(
    float[] inverseFrequencies,
    double factor,
    double scaleFactor,
    int maxPositions,
    @Nullable Longer longer) {

  /**
   * How a family reads its settings.
   *
   * @param part what part of a head is rotated where config.json does not say
   * @param partial whether a part is rotated even where nothing is scaled; other families know
   *     parts in scaled embeddings only
   * @param factorsByLength whether sines and cosines of scaled embeddings have the factors {@code
   *     short_mscale} and {@code long_mscale}, and the lengths that these change at stand with them
   */
  record Reading(double part, boolean partial, boolean factorsByLength) {
    /** Of whole heads, as most families. */
    static final Reading WHOLE = new Reading(1, false, false);

    Reading withPart(double newPart) {
      return new Reading(newPart, true, factorsByLength);
    }

    Reading withFactorsByLength() {
      return new Reading(part, partial, true);
    }
  }

  /**
   * Reads it.
   *
   * @param entry the entry of {@code rope_parameters} that counts, where there is one; empty for
   *     none
   * @param headSize elements of a head
   * @param maxPositions longest sequence where nothing is scaled
   */
  static Rotary read(
      CheckpointConfig json, String entry, int headSize, Reading reading, int maxPositions) {
    RotarySettings settings = RotarySettings.of(json, entry);
    String type = settings.type();
    boolean whole = type.equals("default") && !reading.partial();
    double part = whole ? 1 : settings.part(reading.part());
    boolean proportional = type.equals("proportional");
    int size = proportional ? headSize : (int) (headSize * part);
    int rotated = proportional ? 2 * (int) (part * headSize / 2) : size;
    if (rotated < 2 || size % 2 != 0 || rotated > headSize) {
      throw new InvalidInputException(
          "Of a head's "
              + headSize
              + " elements, "
              + rotated
              + " are rotated ("
              + RotarySettings.PART
              + " in config.json is "
              + part
              + "); rotary embedding needs an even number");
    }
    double theta = settings.theta();
    double[] frequencies = new double[size / 2];
    for (int i = 0; i < rotated / 2; i++) {
      frequencies[i] = Math.pow(theta, -2.0 * i / size);
    }
    Scaling scaling = new Scaling(settings, reading, theta, size, maxPositions);
    Rotary rotary =
        switch (type) {
          case "default", "dynamic" -> scaling.unchanged(frequencies);
          case "linear" -> scaling.divided(frequencies, settings.required("factor"));
          case "proportional" ->
              scaling.divided(frequencies, settings.numberUnlessZero(1, "factor"));
          case "llama3" -> scaling.llama3(frequencies);
          case "yarn" -> scaling.yarn(frequencies);
          case "longrope", "su" -> scaling.longRope(frequencies);
          default ->
              throw new InvalidInputException(
                  "The rotary embedding is scaled by '"
                      + type
                      + "' ("
                      + settings.section()
                      + " in config.json); supported are default, linear, dynamic, proportional,"
                      + " llama3, yarn and longrope");
        };
    return reading.factorsByLength() && !type.equals("default")
        ? scaling.withFactorsByLength(rotary)
        : rotary;
  }

  /** The formulas. */
  private record Scaling(
      RotarySettings settings, Reading reading, double theta, int size, int maxPositions) {

    private double original() {
      return settings.originalPositions(maxPositions, reading.factorsByLength());
    }

    private static float[] rounded(double[] frequencies) {
      float[] rounded = new float[frequencies.length];
      for (int i = 0; i < rounded.length; i++) {
        rounded[i] = (float) frequencies[i];
      }
      return rounded;
    }

    private Rotary of(double[] frequencies, double factor, double original, double scaled) {
      // What is trained for longer sequences can read them, whatever max_position_embeddings says.
      int positions = (int) Math.max(maxPositions, Math.min(Integer.MAX_VALUE, original * scaled));
      return new Rotary(rounded(frequencies), factor, scoreFactor(scaled), positions, null);
    }

    /** Returns the factor of latent attention's scores, the square of a growth by the factor. */
    private double scoreFactor(double factor) {
      double scale = settings.numberUnlessZero(0, "mscale_all_dim");
      double growth = scale == 0 ? 1 : growth(factor, scale);
      return growth * growth;
    }

    private static double growth(double factor, double scale) {
      return factor <= 1 ? 1 : 0.1 * scale * Math.log(factor) + 1;
    }

    Rotary unchanged(double[] frequencies) {
      double factor =
          settings.type().equals("default") ? 1 : settings.numberUnlessZero(1, "factor");
      return new Rotary(rounded(frequencies), 1, scoreFactor(factor), maxPositions, null);
    }

    Rotary divided(double[] frequencies, double factor) {
      return of(
          Arrays.stream(frequencies).map(value -> value / factor).toArray(),
          1,
          maxPositions,
          factor);
    }

    Rotary llama3(double[] frequencies) {
      double factor = settings.required("factor");
      double low = settings.required("low_freq_factor");
      double high = settings.required("high_freq_factor");
      double original = original();
      return of(
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
              .toArray(),
          1,
          original,
          factor);
    }

    Rotary yarn(double[] frequencies) {
      double original = original();
      double factor = settings.number("factor").orElse(maxPositions / original);
      double scale = settings.numberUnlessZero(0, "mscale");
      double scaleAll = settings.numberUnlessZero(0, "mscale_all_dim");
      double attention =
          scale != 0 && scaleAll != 0
              ? growth(factor, scale) / growth(factor, scaleAll)
              : growth(factor, 1);
      double from = correction(settings.numberUnlessZero(32, "beta_fast"), original);
      double to = correction(settings.numberUnlessZero(1, "beta_slow"), original);
      if (settings.truncates()) {
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
      return of(scaled, settings.number("attention_factor").orElse(attention), original, factor);
    }

    private double correction(double turns, double original) {
      return size * Math.log(original / (turns * 2 * Math.PI)) / (2 * Math.log(theta));
    }

    Rotary longRope(double[] frequencies) {
      double original = original();
      double factor = settings.number("factor").orElse(maxPositions / original);
      double attention =
          settings
              .number("attention_factor")
              .orElse(factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original)));
      double[] ofShort = divided(frequencies, "short_factor");
      if (!settings.hasFactors("long_factor")) {
        int end = (int) Math.min(maxPositions, original);
        return new Rotary(rounded(ofShort), attention, scoreFactor(factor), end, null);
      }
      Rotary rotary = of(ofShort, attention, original, factor);
      return original >= rotary.maxPositions
          ? rotary
          : rotary.with(
              attention,
              new Longer((int) original, rounded(divided(frequencies, "long_factor")), attention));
    }

    private double[] divided(double[] frequencies, String field) {
      List<Double> factors = settings.factors(field, frequencies.length);
      return IntStream.range(0, frequencies.length)
          .mapToDouble(i -> frequencies[i] / factors.get(i))
          .toArray();
    }

    Rotary withFactorsByLength(Rotary rotary) {
      double ofShort = settings.number("short_mscale").orElse(rotary.factor);
      double ofLong = settings.number("long_mscale").orElse(rotary.factor);
      Longer longer = rotary.longer;
      double original = original();
      if (longer == null && original >= rotary.maxPositions) {
        return rotary.with(ofShort, null);
      }
      float[] frequencies =
          longer == null ? rotary.inverseFrequencies : longer.inverseFrequencies();
      return rotary.with(ofShort, new Longer((int) original, frequencies, ofLong));
    }
  }

  private Rotary with(double newFactor, @Nullable Longer newLonger) {
    return new Rotary(inverseFrequencies, newFactor, scaleFactor, maxPositions, newLonger);
  }
}
