// SPDX-License-Identifier: Apache-2.0
#include "fusefs/check.h"

static const struct row {
	const char *word;
	enum check_severity severity;
	bool loses;
	const char *meaning;
	const char *remedy;
} rows[CHECK_KINDS] = {
	[CHECK_NONE] = {"none", CHECK_NOTE, false, "nothing", "nothing"},
	[CHECK_HEADER_COPY] = {"header-copy", CHECK_DAMAGE, false,
			       "one of the two vault header files is missing or damaged",
			       "writes it again from the other one"},
	[CHECK_HEADER_BEHIND] = {"header-behind", CHECK_NOTE, false,
				 "one of the two vault header files is older: a power cut came "
				 "between the two",
				 "writes it again from the other one"},
	[CHECK_JOURNAL] = {"journal", CHECK_DAMAGE, false,
			   "the journal of the cleanly closed vault is damaged (without effect)",
			   "makes the journal anew"},
	[CHECK_JOURNAL_TORN] =
		{"journal-superblock", CHECK_NOTE, false,
		 "one of the journal's two superblocks does not open, as a power cut "
		 "leaves it; the other one is enough (without effect)",
		 "writes it again, as the next mount does"},
	[CHECK_JOURNAL_LOST] = {"journal-lost", CHECK_TAMPERED, false,
				"the vault was not closed cleanly and its journal cannot be used",
				"nothing: what it held is lost; restore a backup"},
	[CHECK_VAULT_ROLLBACK] = {"vault-rollback", CHECK_TAMPERED, false,
				  "vault header, root directory and journal are not of one time",
				  "nothing: restore the newest backup of the whole vault"},
	[CHECK_FOREIGN] = {"foreign-file", CHECK_NOTE, false,
			   "a host file that is no part of the vault (without effect)",
			   "leaves it alone"},
	[CHECK_FOLDER] = {"host-folder", CHECK_TAMPERED, false,
			  "a folder of objects is no plain directory or cannot be listed",
			  "nothing: put the folder back"},
	[CHECK_UNNAMED] = {"unnamed-object", CHECK_NOTE, false,
			   "an object that no directory names: left by a power cut, brought back, "
			   "or of a damaged directory",
			   "gives it a name: in its directory where that lost a page, else in "
			   "the quarantine"},
	[CHECK_UNNAMED_JUNK] = {"unnamed-file", CHECK_NOTE, false,
				"a host file with an object's name, not authentic, that no "
				"directory names (without effect)",
				"leaves it alone"},
	[CHECK_MISSING] = {"object-missing", CHECK_DAMAGE, true, "its host file is missing",
			   "keeps the name, as a marked file of holes"},
	[CHECK_NOT_PLAIN] = {"object-not-plain", CHECK_TAMPERED, true,
			     "its host file is a link, a FIFO, a directory or the like",
			     "moves that aside and keeps the name, as a marked file of holes"},
	[CHECK_OBJECT_HEADER] = {"object-header", CHECK_DAMAGE, true,
				 "its header page does not open",
				 "moves the host file aside and keeps the name, as a marked file "
				 "of holes; a directory is rebuilt from what names it"},
	[CHECK_SWAPPED] = {"object-swapped", CHECK_TAMPERED, true,
			   "another object stands in its place",
			   "moves that aside and keeps the name, as a marked file of holes"},
	[CHECK_OLD] = {"object-old", CHECK_TAMPERED, true, "it is older than its directory allows",
		       "moves the old copy aside and keeps the name, as a marked file of holes"},
	[CHECK_NEWER] = {"object-newer", CHECK_TAMPERED, false,
			 "it is newer than its directory or the vault header knows",
			 "nothing: it is of another copy of the vault, or they are old copies; "
			 "restore the newest one"},
	[CHECK_NODE_PAGE] = {"node-page", CHECK_DAMAGE, true,
			     "a page of seals does not open: the pages that it covers are lost",
			     "makes them holes and marks the file"},
	[CHECK_DATA_PAGE] = {"data-page", CHECK_DAMAGE, true, "pages of its content do not open",
			     "makes them holes and marks the file"},
	[CHECK_XATTR_PAGE] = {"xattr-page", CHECK_DAMAGE, true,
			      "its extended attributes do not open",
			      "drops them and marks the file"},
	[CHECK_TABLE_PAGE] = {"table-page", CHECK_DAMAGE, true,
			      "pages of the directory do not open: the names in them are lost",
			      "rebuilds the names of objects; empty files, short symbolic links "
			      "and devices in it are lost"},
	[CHECK_BOUNDS] = {"page-behind-end", CHECK_DAMAGE, false,
			  "there are pages behind the end of the content", "drops them"},
	[CHECK_ATTRIBUTES] = {"attributes", CHECK_DAMAGE, false,
			      "size, pages or flags in the directory are not those of the object",
			      "takes those of the object"},
	[CHECK_LINK_COUNT] = {"link-count", CHECK_DAMAGE, false, "the number of links is wrong",
			      "counts them"},
	[CHECK_LINK_LOST] = {"link-without-file", CHECK_DAMAGE, true,
			     "a hard link whose file is not in the links directory",
			     "rebuilds it from the object where there is one, else as a marked "
			     "empty file"},
	[CHECK_NAMED_TWICE] = {"named-twice", CHECK_TAMPERED, false,
			       "two entries claim one object, or one name stands twice",
			       "keeps the first"},
	[CHECK_ROOT_ENTRIES] = {"root-entries", CHECK_DAMAGE, true,
				"the root directory's own entries are missing",
				"makes them anew, with default attributes"},
	[CHECK_READ_ERROR] = {"read-error", CHECK_DAMAGE, true,
			      "the host could not read it: look after the disk first",
			      "treats what cannot be read as lost"},
};

const char *check_word(enum check_kind kind)
{
	return rows[kind].word;
}

const char *check_meaning(enum check_kind kind)
{
	return rows[kind].meaning;
}

const char *check_remedy(enum check_kind kind)
{
	return rows[kind].remedy;
}

enum check_severity check_severity(enum check_kind kind)
{
	return rows[kind].severity;
}

bool check_loses(enum check_kind kind)
{
	return rows[kind].loses;
}
