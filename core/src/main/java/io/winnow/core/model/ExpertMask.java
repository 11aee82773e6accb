package io.winnow.core.model;

import io.winnow.core.InvalidInputException;

/** Chooses the weights of experts that become zero in a checkpoint that is written. */
@FunctionalInterface
public interface ExpertMask {
  /**
   * Sets {@code zero} at the weights to erase, of one row of one matrix: the weights of one output.
   *
   * @param layer the number of the decoder layer
   * @param expert its number in the checkpoint
   * @param weights the row's weights, one for each input; must not be changed
   * @param zero as many, all false
   * @throws InvalidInputException if the mask was made for another model
   */
  void mask(int layer, int expert, ExpertMatrix matrix, float[] weights, boolean[] zero);
}
