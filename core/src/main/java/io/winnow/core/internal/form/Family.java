package io.winnow.core.internal.form;

import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * What sets one architecture family apart: names in {@code config.json}, names of tensors, the form
 * of its layers, routing. A family is one file that makes one of these.
 *
 * @param modelType {@code model_type} in config.json
 * @param section the object inside config.json that describes the decoder; empty for all of it
 * @param prefix precedes the names of all tensors
 * @param expertCountFields the fields of config.json that pruning changes, those that are there
 * @param topKField the field of config.json that says how many experts a token selects
 * @param config reads dimensions and form
 * @param routing makes the routing of a layer
 * @param names names of tensors
 */
public record Family(
    String modelType,
    String section,
    String prefix,
    List<String> expertCountFields,
    String topKField,
    Function<CheckpointConfig, DecoderConfig> config,
    RoutingFactory routing,
    TensorNames names) {

  /** Creates a family whose decoder is all of the checkpoint. */
  public static Family of(
      String modelType,
      List<String> expertCountFields,
      String topKField,
      Function<CheckpointConfig, DecoderConfig> config,
      RoutingFactory routing,
      TensorNames names) {
    return new Family(modelType, "", "", expertCountFields, topKField, config, routing, names);
  }

  /** Returns the same decoder inside a checkpoint that holds more. */
  public Family inside(String newModelType, String newSection, String newPrefix) {
    return new Family(
        newModelType, newSection, newPrefix, expertCountFields, topKField, config, routing, names);
  }

  /** Makes the routing of a layer. */
  public interface RoutingFactory {
    /**
     * Makes it.
     *
     * @param json the decoder's configuration
     * @param config what was read of it
     * @param correction the bias of the selection {@code [experts]}, or null if the family has none
     */
    Routing create(CheckpointConfig json, DecoderConfig config, float @Nullable [] correction);
  }

  /**
   * Names of tensors in a layer's feed-forward block, which is named {@code block}. What precedes
   * it, and attention, norms, embedding and head, have the same names in all families.
   *
   * @param block of experts, router, or the dense layer's gate_proj, up_proj and down_proj
   * @param router the gate
   * @param experts the routed experts
   * @param routerBias added to the gate's logits; null for none
   * @param correction added to scores for the selection; null for none
   * @param shared the shared experts' gate_proj, up_proj and down_proj; null for none
   * @param sharedGate what the sigmoid of the shared expert's weight is computed by; null for none
   */
  public record TensorNames(
      String block,
      String router,
      ExpertNames experts,
      @Nullable String routerBias,
      @Nullable String correction,
      @Nullable String shared,
      @Nullable String sharedGate) {

    public static TensorNames of(String block, String router, ExpertNames experts) {
      return new TensorNames(block, router, experts, null, null, null, null);
    }

    public TensorNames withRouterBias(String name) {
      return new TensorNames(block, router, experts, name, correction, shared, sharedGate);
    }

    public TensorNames withCorrection(String name) {
      return new TensorNames(block, router, experts, routerBias, name, shared, sharedGate);
    }

    public TensorNames withShared(String name) {
      return new TensorNames(block, router, experts, routerBias, correction, name, sharedGate);
    }

    public TensorNames withSharedGate(String name) {
      return new TensorNames(block, router, experts, routerBias, correction, shared, name);
    }
  }

  /** How the routed experts of a layer lie in the checkpoint. */
  public sealed interface ExpertNames {
    /** Each expert's matrices {@code [m, d]} and {@code [d, m]}, {@code {expert}} in the names. */
    record Single(String gate, String up, String down) implements ExpertNames {}

    /**
     * All experts in one tensor.
     *
     * @param layout how an expert's part of {@code gateUp} is cut
     * @param gateUpBias null for none, like {@code downBias}
     */
    record Fused(
        Layout layout,
        String gateUp,
        String down,
        @Nullable String gateUpBias,
        @Nullable String downBias)
        implements ExpertNames {}

    /** Where the gate and the up projection of an expert are. */
    enum Layout {
      /** {@code [2 m, d]}: rows of gate, then rows of up; down is {@code [d, m]}. */
      ROWS,
      /** {@code [d, 2 m]}: columns of gate, then columns of up; down is {@code [m, d]}. */
      COLUMNS,
      /** {@code [d, 2 m]}: columns of gate and up in turn; down is {@code [m, d]}. */
      ALTERNATING_COLUMNS
    }

    /** The names that most families use. */
    public static ExpertNames common() {
      return new Single(
          "experts.{expert}.gate_proj.weight",
          "experts.{expert}.up_proj.weight",
          "experts.{expert}.down_proj.weight");
    }
  }

  public String embedding() {
    return prefix + "model.embed_tokens.weight";
  }

  public String finalNorm() {
    return prefix + "model.norm.weight";
  }

  public String head() {
    return prefix + "lm_head.weight";
  }

  private String layer(int layer) {
    return prefix + "model.layers." + layer + ".";
  }

  public String moeNorm(int layer) {
    return layer(layer) + "post_attention_layernorm.weight";
  }

  public String attention(int layer, AttentionPart part) {
    if (part == AttentionPart.NORM) {
      return layer(layer) + "input_layernorm.weight";
    }
    String name =
        switch (part) {
          case NORM -> throw new IllegalArgumentException("Not of the attention itself");
          case QUERY -> "q_proj.weight";
          case KEY -> "k_proj.weight";
          case VALUE -> "v_proj.weight";
          case OUTPUT -> "o_proj.weight";
          case QUERY_BIAS -> "q_proj.bias";
          case KEY_BIAS -> "k_proj.bias";
          case VALUE_BIAS -> "v_proj.bias";
          case OUTPUT_BIAS -> "o_proj.bias";
          case QUERY_NORM -> "q_norm.weight";
          case KEY_NORM -> "k_norm.weight";
          case SINKS -> "sinks";
          case QUERY_DOWN -> "q_a_proj.weight";
          case QUERY_DOWN_BIAS -> "q_a_proj.bias";
          case QUERY_DOWN_NORM -> "q_a_layernorm.weight";
          case QUERY_UP -> "q_b_proj.weight";
          case LATENT -> "kv_a_proj_with_mqa.weight";
          case LATENT_BIAS -> "kv_a_proj_with_mqa.bias";
          case LATENT_NORM -> "kv_a_layernorm.weight";
          case LATENT_UP -> "kv_b_proj.weight";
        };
    return layer(layer) + "self_attn." + name;
  }

  /** Returns the full name of a tensor of a layer's feed-forward block. */
  public String block(int layer, String name) {
    return layer(layer) + names.block() + "." + name;
  }

  /** Returns the full name of an expert's tensor. */
  public String expert(int layer, String name, int expert) {
    return block(layer, name.replace("{expert}", Integer.toString(expert)));
  }

  public String router(int layer) {
    return block(layer, names.router());
  }

  /** Returns the name of a layer's router mapping W_RM, which only merged checkpoints have. */
  public String routerMapping(int layer) {
    String router = router(layer);
    return router.substring(0, router.lastIndexOf('.')) + ".router_mapping.weight";
  }
}
