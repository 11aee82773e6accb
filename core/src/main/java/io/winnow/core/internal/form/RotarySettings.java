package io.winnow.core.internal.form;

import io.winnow.core.InvalidInputException;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.OptionalDouble;

/**
 * The fields of {@code config.json} that describe a rotary embedding, wherever they stand.
 *
 * <p>As in Transformers 5.17, all come from one object: the older {@code rope_scaling} where it is
 * not empty, and else {@code rope_parameters}. What it lacks of {@code rope_theta} and {@code
 * partial_rotary_factor} stands beside it.
 *
 * @param json all of it
 * @param object the path of the object
 * @param section the path of what describes these layers, the object or an entry of it
 */
record RotarySettings(CheckpointConfig json, String object, String section) {
  static final String PART = "partial_rotary_factor";
  private static final String THETA = "rope_theta";
  private static final String ORIGINAL = "original_max_position_embeddings";

  /**
   * Finds the object.
   *
   * @param entry the entry of some layers, which counts where it is there; empty for none
   */
  static RotarySettings of(CheckpointConfig json, String entry) {
    String object = json.hasMembers("rope_scaling") ? "rope_scaling" : "rope_parameters";
    String inner = object + "." + entry;
    boolean nested = !entry.isEmpty() && json.hasMembers(object) && json.hasMembers(inner);
    return new RotarySettings(json, object, nested ? inner : object);
  }

  private String path(String field) {
    return section + "." + field;
  }

  String type() {
    return json.string(path("rope_type"), path("type")).orElse("default");
  }

  /** Returns the base of the frequencies. */
  double theta() {
    double theta = json.doubleOr(Double.NaN, path(THETA), THETA);
    if (!(theta > 0)) {
      throw new InvalidInputException(
          Double.isNaN(theta)
              ? "config.json says no rope_theta, neither in "
                  + section
                  + " nor beside it, and this family has none of its own; add it"
              : "rope_theta is " + theta + " in config.json; it must be positive");
    }
    return theta;
  }

  /** Returns what part of a head is rotated. */
  double part(double fallback) {
    return json.doubleOr(fallback, path(PART), PART);
  }

  /**
   * Returns the length of the sequences before they were scaled.
   *
   * @param innerFirst whether the field beside the object counts only where it has none
   */
  double originalPositions(int maxPositions, boolean innerFirst) {
    double inner = json.doubleOr(Double.NaN, path(ORIGINAL));
    // What describes all layers yields to the field beside it, as Transformers reads it.
    double beside = section.equals(object) ? json.doubleOr(Double.NaN, ORIGINAL) : Double.NaN;
    boolean takeInner = Double.isNaN(beside) || (innerFirst && !Double.isNaN(inner));
    double original = takeInner ? inner : beside;
    if (Double.isNaN(original)) {
      return maxPositions;
    }
    if (original <= 0) {
      throw new InvalidInputException(
          ORIGINAL + " is " + original + " in config.json; it must be positive");
    }
    return original;
  }

  /** Returns whether the range of frequencies that are blended ends at whole ones. */
  boolean truncates() {
    return json.booleanOr(true, object + ".truncate");
  }

  OptionalDouble number(String field) {
    double value = json.doubleOr(Double.NaN, path(field));
    return Double.isNaN(value) ? OptionalDouble.empty() : OptionalDouble.of(value);
  }

  /** Returns a number that counts unless it is absent or 0. */
  double numberUnlessZero(double fallback, String field) {
    double value = json.doubleOr(fallback, path(field));
    return value == 0 ? fallback : value;
  }

  double required(String field) {
    double value = json.doubleOr(Double.NaN, path(field));
    if (!(value > 0)) {
      throw new InvalidInputException(
          "The rotary embedding's scaling needs a positive '"
              + field
              + "' in config.json's "
              + section
              + ", and finds "
              + (Double.isNaN(value) ? "none" : value));
    }
    return value;
  }

  /** Returns whether there is a list of factors. */
  boolean hasFactors(String field) {
    return json.doubles(path(field)).isPresent();
  }

  /** Returns a factor of every frequency. */
  List<Double> factors(String field, int count) {
    List<Double> factors = json.doubles(path(field)).orElse(List.of());
    if (factors.size() != count) {
      throw new InvalidInputException(
          "The rotary embedding's scaling by 'longrope' needs "
              + count
              + " numbers '"
              + field
              + "' in config.json's "
              + section
              + ", and finds "
              + factors.size());
    }
    return factors;
  }
}
