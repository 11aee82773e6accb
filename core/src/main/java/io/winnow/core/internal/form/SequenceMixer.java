package io.winnow.core.internal.form;

import java.util.Map;

/**
 * What mixes the tokens of a sequence in one layer: a general part with parameters, of which a
 * family chooses one for every layer.
 */
public sealed interface SequenceMixer permits GroupedAttention, LatentAttention {
  /**
   * Returns the weights that it consists of, the output projection among them, with their shapes.
   */
  Map<MixerPart, long[]> shapes(int hiddenSize);

  /** Returns how it uses the positions of the tokens. */
  PositionForm positions();

  /** Returns what the cache keeps for it. */
  StateForm state();

  /** Returns whether nothing but sizes and visibility sets it apart from Mixtral's attention. */
  boolean isPlain();
}
