package io.winnow.examples.cli;

import com.google.gson.JsonArray;
import com.google.gson.JsonObject;
import io.winnow.core.model.CheckpointSummary;
import io.winnow.core.model.CheckpointSummary.Footprint;
import io.winnow.core.model.CheckpointSummary.Size;
import io.winnow.core.model.MoeModels;
import io.winnow.examples.options.JsonOptions;
import io.winnow.examples.options.ModelFolderOptions;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code winnow inspect}. */
@Command(
    name = "inspect",
    mixinStandardHelpOptions = true,
    description =
        "Says what a checkpoint holds, and what it would need with fewer experts. Reads config.json and"
            + " the headers of the files only.",
    footer = {"", "Example:", "  winnow inspect --model Mixtral-8x7B"})
final class InspectCommand implements Callable<Integer> {
  @Mixin private ModelFolderOptions model;
  @Mixin private JsonOptions json;

  @Override
  public Integer call() throws Exception {
    json.check();
    CheckpointSummary summary = MoeModels.inspect(model.folder());
    List<Footprint> chosen = chosen(summary);
    json.write(() -> json(summary, chosen));
    System.out.print(table(summary, chosen));
    return 0;
  }

  /** Returns n, three quarters and half of it, or the next smaller numbers that are possible. */
  private static List<Footprint> chosen(CheckpointSummary summary) {
    List<Footprint> chosen = new ArrayList<>();
    for (int quarters = 4; quarters >= 2; quarters--) {
      int most = summary.experts() * quarters / 4;
      summary.footprints().stream()
          .filter(footprint -> footprint.retained() <= most)
          .findFirst()
          .filter(footprint -> !chosen.contains(footprint))
          .ifPresent(chosen::add);
    }
    return chosen;
  }

  private static String table(CheckpointSummary summary, List<Footprint> chosen) {
    StringBuilder table = new StringBuilder();
    line(
        table,
        "family         %s, %d layers, %s with experts",
        summary.modelType(),
        summary.layers(),
        summary.moeLayers() == summary.layers() ? "all" : Integer.toString(summary.moeLayers()));
    line(
        table,
        "experts        %d a layer%s, top-%d, intermediate size %d",
        summary.experts(),
        summary.groups() == 1 ? "" : " in " + summary.groups() + " groups",
        summary.topK(),
        summary.expertSize());
    line(
        table,
        "shared         %s",
        summary.sharedSize() == 0 ? "none" : "intermediate size " + summary.sharedSize());
    line(
        table,
        "stored as      %s%s",
        summary.bytesByType().entrySet().stream()
            .map(type -> type.getKey() + " " + bytes(type.getValue()))
            .collect(Collectors.joining(", ")),
        summary.quantization().equals("none")
            ? ""
            : "; quantised by "
                + summary.quantization()
                + ", computed in "
                + summary.computeType());
    line(
        table,
        "active         %s of %s parameters a token",
        count(summary.activeParameters()),
        count(summary.total().parameters()));
    line(table, "");
    line(table, "%-20s  %12s  %12s", "part", "parameters", "bytes");
    summary.parts().forEach((part, size) -> part(table, name(part), size));
    part(table, "total", summary.total());
    line(table, "");
    boolean narrow = !summary.computeType().equals("F32");
    String format = narrow ? "%-8s  %12s  %12s  %12s" : "%-8s  %12s  %4$12s";
    line(table, format, "experts", "on disk", "in " + summary.computeType(), "in F32");
    for (Footprint footprint : chosen) {
      line(
          table,
          format,
          footprint.retained(),
          bytes(footprint.bytes()),
          bytes(footprint.memory()),
          bytes(footprint.memoryFloat32()));
    }
    return table.toString();
  }

  private static void line(StringBuilder table, String format, Object... arguments) {
    table.append(String.format(Locale.ROOT, format, arguments)).append(System.lineSeparator());
  }

  private static void part(StringBuilder table, String name, Size size) {
    if (size.bytes() > 0) {
      line(table, "%-20s  %12s  %12s", name, count(size.parameters()), bytes(size.bytes()));
    }
  }

  private static String name(CheckpointSummary.Part part) {
    return part.name().toLowerCase(Locale.ROOT).replace('_', ' ');
  }

  private static String bytes(long bytes) {
    return scaled(bytes, "KB", "MB", "GB");
  }

  private static String count(long parameters) {
    return scaled(parameters, "K", "M", "B");
  }

  private static String scaled(long number, String thousands, String millions, String billions) {
    if (number < 1e6) {
      return String.format(Locale.ROOT, "%.2f %s", number / 1e3, thousands);
    }
    return number < 1e9
        ? String.format(Locale.ROOT, "%.2f %s", number / 1e6, millions)
        : String.format(Locale.ROOT, "%.2f %s", number / 1e9, billions);
  }

  private static JsonObject json(CheckpointSummary summary, List<Footprint> chosen) {
    JsonObject object = new JsonObject();
    object.addProperty("model_type", summary.modelType());
    object.addProperty("quantization", summary.quantization());
    object.addProperty("layers", summary.layers());
    object.addProperty("moe_layers", summary.moeLayers());
    object.addProperty("experts", summary.experts());
    object.addProperty("top_k", summary.topK());
    object.addProperty("groups", summary.groups());
    object.addProperty("expert_size", summary.expertSize());
    object.addProperty("shared_size", summary.sharedSize());
    object.addProperty("compute_type", summary.computeType());
    JsonObject types = new JsonObject();
    for (Map.Entry<String, Long> type : summary.bytesByType().entrySet()) {
      types.addProperty(type.getKey(), type.getValue());
    }
    object.add("bytes_by_type", types);
    JsonObject parts = new JsonObject();
    summary
        .parts()
        .forEach((part, size) -> parts.add(part.name().toLowerCase(Locale.ROOT), json(size)));
    object.add("parts", parts);
    object.add("total", json(summary.total()));
    object.addProperty("active_parameters", summary.activeParameters());
    JsonArray footprints = new JsonArray();
    for (Footprint footprint : chosen) {
      JsonObject row = new JsonObject();
      row.addProperty("retained", footprint.retained());
      row.addProperty("bytes", footprint.bytes());
      row.addProperty("memory", footprint.memory());
      row.addProperty("memory_float32", footprint.memoryFloat32());
      footprints.add(row);
    }
    object.add("footprints", footprints);
    return object;
  }

  private static JsonObject json(Size size) {
    JsonObject object = new JsonObject();
    object.addProperty("parameters", size.parameters());
    object.addProperty("bytes", size.bytes());
    return object;
  }
}
