package io.winnow.core.internal.form;

import com.google.gson.JsonParser;
import io.winnow.core.Routing;
import io.winnow.core.internal.checkpoint.CheckpointConfig;
import java.util.List;
import java.util.function.Function;
import org.jspecify.annotations.Nullable;

/**
 * What sets one architecture family apart: names in {@code config.json}, the form of its layers,
 * routing, names of tensors. A family is one file that makes one of these.
 *
 * @param modelType {@code model_type} in config.json
 * @param section the object inside config.json that describes the decoder; empty for all of it
 * @param expertCountFields the fields of config.json that pruning changes, those that are there
 * @param topKField the field of config.json that says how many experts a token selects
 * @param defaults what fields are where config.json lacks them, as an object of JSON: those of the
 *     family's configuration in Transformers
 * @param config reads dimensions and form
 * @param routing makes the routing of a layer
 * @param names names of tensors
 */
public record Family(
    String modelType,
    String section,
    List<String> expertCountFields,
    String topKField,
    String defaults,
    Function<CheckpointConfig, DecoderConfig> config,
    RoutingFactory routing,
    TensorNames names) {

  public Family {
    expertCountFields = List.copyOf(expertCountFields);
  }

  /** Creates a family whose decoder is all of the checkpoint. */
  public static Family of(
      String modelType,
      List<String> expertCountFields,
      String topKField,
      String defaults,
      Function<CheckpointConfig, DecoderConfig> config,
      RoutingFactory routing,
      TensorNames names) {
    return new Family(
        modelType, "", expertCountFields, topKField, defaults, config, routing, names);
  }

  /** Returns the same decoder inside a checkpoint that holds more. */
  public Family inside(String newModelType, String newSection, String newPrefix) {
    return new Family(
        newModelType,
        newSection,
        expertCountFields,
        topKField,
        defaults,
        config,
        routing,
        names.but().prefix(newPrefix).build());
  }

  /**
   * Returns what {@code config.json} says of the decoder, and the family's own values of what it
   * leaves out.
   */
  public CheckpointConfig decoder(CheckpointConfig whole) {
    return (section.isEmpty() ? whole : whole.section(section))
        .withDefaults(
            JsonParser.parseString(defaults).getAsJsonObject(),
            List.of(
                List.of(
                    CountFields.with(
                        CountFields.EXPERTS, expertCountFields.toArray(String[]::new))),
                List.of(CountFields.with(CountFields.TOP_K, topKField))));
  }

  /** Reads dimensions and form from the whole {@code config.json}. */
  public DecoderConfig read(CheckpointConfig whole) {
    return config.apply(decoder(whole));
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
}
