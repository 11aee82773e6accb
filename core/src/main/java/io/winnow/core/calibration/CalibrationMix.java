package io.winnow.core.calibration;

import io.winnow.core.InvalidInputException;
import io.winnow.core.TokenSequences;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Collectors;

/** Puts the first sequences of several calibrations together, each source by its weight. */
final class CalibrationMix {
  private CalibrationMix() {}

  static Calibration of(int sequences, List<Calibration.Share> shares) {
    if (shares.isEmpty()) {
      throw new InvalidInputException("A mixed calibration needs at least one source");
    }
    int length = shares.get(0).calibration().sequences().length();
    double perWeight = sequencesPerWeight(sequences, length, shares);
    List<Calibration.Part> parts = new ArrayList<>();
    List<long[]> rows = new ArrayList<>();
    for (Calibration.Share share : shares) {
      // A little more, since 0.3 * 10 / 1.0 may be just below 3.
      int count = (int) Math.floor(share.weight() * perWeight + 1e-9);
      if (count == 0) {
        throw new InvalidInputException(
            String.format(
                "With weight %s '%s' gets none of %d sequences; use more sequences or a greater"
                    + " weight",
                share.weight(), share.name(), sequences));
      }
      for (int i = 0; i < count; i++) {
        rows.add(share.calibration().sequences().sequence(i));
      }
      parts.add(new Calibration.Part(share.name(), count));
    }
    String description =
        parts.stream()
            .map(part -> part.sequences() + " of " + part.name())
            .collect(Collectors.joining(", ", "", ", sequences of " + length + " tokens"));
    return new Calibration(
        TokenSequences.of(rows.toArray(long[][]::new)),
        shares.get(0).calibration().seed(),
        description,
        parts);
  }

  /** Returns as many as are wanted, or as the source that has too few allows. */
  private static double sequencesPerWeight(
      int sequences, int length, List<Calibration.Share> shares) {
    double sum = 0;
    for (Calibration.Share share : shares) {
      if (!(share.weight() > 0) || Double.isInfinite(share.weight())) {
        throw new InvalidInputException(
            String.format(
                "The weight of '%s' is %s; use a positive number", share.name(), share.weight()));
      }
      int other = share.calibration().sequences().length();
      if (other != length) {
        throw new InvalidInputException(
            String.format(
                "The sources have sequences of %d and %d tokens ('%s'); use the same length for all",
                length, other, share.name()));
      }
      sum += share.weight();
    }
    double perWeight = sequences / sum;
    for (Calibration.Share share : shares) {
      perWeight = Math.min(perWeight, share.calibration().sequences().count() / share.weight());
    }
    return perWeight;
  }
}
