package io.winnow.pruning.internal.table;

import io.winnow.core.calibration.Calibration;
import java.util.List;
import org.jspecify.annotations.Nullable;

/**
 * The tables of all MoE layers of a model, and what they were made of.
 *
 * @param layers every MoE layer, in order, with expert outputs
 * @param calibration the digest of the tokens
 * @param source the digest of the checkpoint, or null if it is unknown
 * @param sequencesPerGroup the sequences of one group of the loss; 0 for all tokens in one group
 * @param parts the sources of the tokens, in order
 * @param length the tokens of a sequence
 */
public record CalibrationTables(
    List<InnerProductTable> layers,
    String calibration,
    @Nullable String source,
    int sequencesPerGroup,
    List<Calibration.Part> parts,
    int length) {

  /** Copies the lists. */
  public CalibrationTables {
    layers = List.copyOf(layers);
    parts = List.copyOf(parts);
  }
}
