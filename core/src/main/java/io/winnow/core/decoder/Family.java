package io.winnow.core.decoder;

import io.winnow.core.SoftmaxRouting;
import io.winnow.core.checkpoint.CheckpointConfig;
import java.util.function.Function;

/**
 * What sets one architecture family apart: names in {@code config.json}, names of tensors, routing.
 * A family is one file that makes one of these.
 *
 * <p>In the names of tensors {@code {layer}} stands for the decoder layer and {@code {expert}} for
 * the expert.
 *
 * @param modelType {@code model_type} in config.json
 * @param expertCountField the field of config.json that pruning changes
 * @param topKField the field of config.json that says how many experts a token selects
 * @param config reads the dimensions
 * @param routing makes the routing of a layer
 * @param names names of tensors
 */
record Family(
    String modelType,
    String expertCountField,
    String topKField,
    Function<CheckpointConfig, DecoderConfig> config,
    Function<DecoderConfig, SoftmaxRouting> routing,
    TensorNames names) {

  /** Names of tensors in the checkpoint. */
  record TensorNames(
      String embedding,
      String inputNorm,
      String query,
      String key,
      String value,
      String attentionOutput,
      String moeNorm,
      String router,
      String expertGate,
      String expertUp,
      String expertDown,
      String finalNorm,
      String head) {}

  /** Puts a layer's number into a name. */
  static String of(String name, int layer) {
    return name.replace("{layer}", Integer.toString(layer));
  }

  /** Puts a layer's and an expert's number into a name. */
  static String of(String name, int layer, int expert) {
    return of(name, layer).replace("{expert}", Integer.toString(expert));
  }

  /** Returns the name of a layer's router mapping W_RM, which only merged checkpoints have. */
  String routerMapping(int layer) {
    String router = of(names.router(), layer);
    return router.substring(0, router.lastIndexOf('.')) + ".router_mapping.weight";
  }
}
