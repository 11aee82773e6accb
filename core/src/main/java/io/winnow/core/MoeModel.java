package io.winnow.core;

import ai.djl.Model;
import java.util.List;
import java.util.Optional;

/**
 * A running Mixture-of-Experts language model: its MoE layers in order, and how to push tokens
 * through them.
 *
 * <p>A model loaded by {@code MoeModels} is one already (see {@link #of}); a host application
 * implements this over a model of its own to have it pruned.
 */
public interface MoeModel {
  /** Returns the MoE layers in order; dense layers are left out. */
  List<? extends MoeLayerView> moeLayers();

  /** Returns the number of token ids the model knows. */
  int vocabularySize();

  /** Returns the longest sequence the model can take, in tokens. */
  int maxPositions();

  /**
   * Pushes sequences through the model's layers, showing the observer each MoE layer's input and
   * routing. Each sequence starts at position 0. Neither logits nor a cache are made.
   *
   * @param sequences {@code [sequences, length]}, computed as one batch
   */
  void forward(TokenSequences sequences, ForwardObserver observer);

  /**
   * Returns the hooks that the model asks after each layer's routing, in every forward pass.
   *
   * @throws UnsupportedOperationException if the model asks none
   */
  default RouterHooks routerHooks() {
    throw new UnsupportedOperationException(
        getClass().getName() + " has no router hooks; let it hold a RouterHooks and ask it");
  }

  /**
   * Returns a digest of the checkpoint the model was made from, if it still has all its experts.
   */
  default Optional<String> sourceDigest() {
    return Optional.empty();
  }

  /**
   * Notes how the model was changed, for a checkpoint that is written of it later. Does nothing
   * unless overridden.
   */
  default void recordProvenance(Provenance provenance) {}

  /**
   * Returns the MoE model inside a DJL model.
   *
   * @throws InvalidInputException if its block is no {@link MoeModel}
   */
  static MoeModel of(Model model) {
    if (model.getBlock() instanceof MoeModel moe) {
      return moe;
    }
    throw new InvalidInputException(
        "The block of model '"
            + model.getName()
            + "' is no MoeModel: load the model with MoeModels.load, or implement MoeModel and"
            + " MoeLayerView over its arrays and pass that instead");
  }
}
